"""A browser that looks at a stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests import npm
from tests.browser import browser
from tests.stage import Stage, staged
from tests.workers import made_once


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path / "journal.jsonl") as stage:
        yield stage


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script that finds faults of accessibility."""
    folder = made_once(tmp_path_factory, "axe", lambda into: npm.install(into, "axe-core@4.10.3"))
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Not for longer than a module: as long as it runs, this thread has an event loop."""
    with browser() as started:
        yield started
