"""Experiments: a seeded plan of perturbations against an app under load."""
