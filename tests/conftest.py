"""Shared by all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.debian import pytest_configure, pytest_runtest_setup

__all__ = ["pytest_configure", "pytest_runtest_setup"]

# A deadline asserts a time, and how slow data is to draw is a matter of the machine, too.
settings.register_profile("seism", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("seism")
