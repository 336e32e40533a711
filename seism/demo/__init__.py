"""The demo: real backends, and an example app with planted weaknesses that must be found."""
