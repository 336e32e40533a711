"""The front observer: a middleware that tells the sidecar how every request reacted."""
