"""A fresh environment with Seism as its users install it, and projects that it makes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

OURS = ("SEISM", "MAKE", "MFLAGS", "ARGS", "VENV", "PYTHON", "DATABASE_", "CACHE_", "COLUMNS")
"""What begins so is of the run of these tests, and none of a generated project's business."""


def environ() -> dict[str, str]:
    """The environment of somebody who begins."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "200"}


def run(
    folder: Path, *argv: str | Path, code: int | None = 0, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run it there; ``code`` is how it must end, None: anyhow."""
    done = subprocess.run(
        [str(word) for word in argv], cwd=folder, env=environ(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert code in (None, done.returncode), f"{argv}\n{done.stdout}\n{done.stderr}"
    return done


@dataclass(frozen=True)
class Project:
    """A generated project, and the environment that it is built in."""

    folder: Path
    venv: Path

    @property
    def package(self) -> Path:
        return self.folder / self.folder.name.replace("-", "_")

    def make(self, *targets: str, code: int = 0) -> str:
        """The output of ``make``."""
        return run(self.folder, "make", *targets, f"VENV={self.venv}", code=code).stdout

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(
            (self.folder / "seism-report" / "report.json").read_text(encoding="utf-8")
        )
        return report

    def edit(self, path: str, *replacements: tuple[str, str]) -> None:
        """Replace each text, which must be there."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        for old, new in replacements:
            assert old in text, (path, old)
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")


New = Callable[..., Project]


def installed_project(installed: Path, folder: Path, name: str, *options: str) -> Project:
    """``seism new``, as installed, in ``folder``."""
    run(folder, installed / "bin" / "seism", "new", name, *options)
    return Project(folder / name, installed)


@pytest.fixture
def new(installed: Path, tmp_path: Path) -> New:
    """``seism new``, as installed, in a folder of the test's own."""
    return partial(installed_project, installed, tmp_path)
