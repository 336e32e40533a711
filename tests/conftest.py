"""Shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import debian, rerun
from tests.debian import pytest_runtest_setup
from tests.distributions import environment, released
from tests.rerun import pytest_itemcollected
from tests.workers import made_once, pytest_collection_modifyitems

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_itemcollected",
    "pytest_runtest_setup",
]


def pytest_configure(config: pytest.Config) -> None:
    debian.pytest_configure(config)
    rerun.pytest_configure(config)


# A deadline asserts a time, and how slow data is to draw is a matter of the machine, too.
settings.register_profile("seism", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("seism")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheels of ``seism`` and ``seism-middleware``, as a release of this checkout has them."""
    return sorted((made_once(tmp_path_factory, "released", released) / "wheels").glob("*.whl"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: list[Path]) -> Path:
    """A virtual environment with nothing but Seism's wheels and what those depend on.

    All processes share it: nothing else is installed there.
    """
    return made_once(tmp_path_factory, "installed", lambda venv: environment(venv, wheels))
