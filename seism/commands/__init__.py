"""The commands that drive a sidecar that runs. They load what they need, when they do."""
