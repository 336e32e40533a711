"""Experiments: an app command, load, a seeded plan of perturbations, and what to keep of it."""
