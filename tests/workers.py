"""A run in several processes (pytest-xdist): the order of the files, and folders made once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

LONGEST = (
    "test_sweep.py",
    "zoo/test_zoo.py",
    "demo/test_demo.py",
    "test_replay.py",
    "docs/test_manual.py",
    "test_distributions.py",
    "test_cli.py",
    "harm/test_consumers.py",
    "templates/test_guide.py",
    "templates/test_generated.py",
    "testing/test_suite.py",
    "experiment/test_locust.py",
    "harm/test_planted.py",
    "harm/test_worker_process.py",
    "soak/test_soak.py",
    "seism_middleware/test_memory.py",
    "experiment/test_mixed.py",
    "test_ci.py",
    "cpython/test_run.py",
    "templates/test_copier.py",
    "sidecar/test_chaos.py",
    "demo/test_example.py",
    "test_tutorial.py",
    "matrix/test_matrix.py",
    "truth/test_ground_truth.py",
    "truth/test_exchange_truth.py",
    "seism_middleware/test_plugins.py",
    "attack/test_attacks.py",
    "seism_middleware/test_away.py",
    "seism_middleware/test_graphite.py",
    "experiment/test_doctor.py",
)
"""The files that take longest, by what pytest's ``--durations`` says, the longest first."""
TESTS = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first, so that no process is left alone with one at the end.

    Without xdist, and for all other files, the order is pytest-randomly's.
    """
    if hasattr(config, "workerinput"):
        place = {TESTS / name: number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: place.get(item.path, len(place)))


def made_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """The folder ``name`` of this run, which the first process to ask for it has filled."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, done = base / name, base / f"{name}.made"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
