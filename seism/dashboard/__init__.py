"""One page that shows what the app does while its backends misbehave."""
