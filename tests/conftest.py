"""Shared by all tests."""

from __future__ import annotations

from tests.debian import pytest_configure, pytest_runtest_setup

__all__ = ["pytest_configure", "pytest_runtest_setup"]
