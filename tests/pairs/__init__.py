"""Releases with a bug that a failing backend shows, beside the releases that mended it."""
