"""Seism in test suites: a pytest plug-in, helpers for unittest, and assertions for both.

The sidecar is a child process of the test's; nothing is patched in the test's own.
"""

from seism.testing.assertion import assert_fired, assert_survives
from seism.testing.sidecar import Running, experiment, sidecar
from seism.testing.unittest import SeismTestCase

__all__ = [
    "Running", "SeismTestCase", "assert_fired", "assert_survives", "experiment", "sidecar",
]  # fmt: skip
