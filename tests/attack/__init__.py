"""Hostile peers against a real sidecar, and what its bystanders notice; see ``run``."""
