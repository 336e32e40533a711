"""Only a test with a written reason is run again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

FAILS_FIRST = """
import pathlib, pytest

@MARKER
def test_it():
    seen = pathlib.Path("seen")
    first = not seen.exists()
    seen.write_text("")
    assert not first
"""
REASON = "the kernel decides which of two equal ports it hands out"


def ran(folder: Path, marker: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_first.py").write_text(FAILS_FIRST.replace("@MARKER", marker))
    plugins = ("-p", "tests.rerun", "-p", "no:randomly", "-p", "no:cacheprovider")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", *plugins, "test_first.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_failure_fails_the_run(tmp_path: Path) -> None:
    done = ran(tmp_path, "")
    assert done.returncode == 1
    assert "1 failed" in done.stdout


def test_a_marked_test_is_run_again(tmp_path: Path) -> None:
    done = ran(tmp_path, f'@pytest.mark.rerun(reason="{REASON}")')
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 rerun" in done.stdout


@pytest.mark.parametrize(
    ("marker", "why"),
    [
        ("@pytest.mark.rerun", "expected @pytest.mark.rerun"),
        ('@pytest.mark.rerun("the reason as an argument")', "expected @pytest.mark.rerun"),
        (f'@pytest.mark.rerun(reason="{REASON}", reruns=5)', "expected @pytest.mark.rerun"),
        ('@pytest.mark.rerun(reason="")', "needs a reason of at least 20 characters"),
        ('@pytest.mark.rerun(reason="flaky")', "needs a reason of at least 20 characters"),
        ("@pytest.mark.flaky(reruns=2)", "instead of flaky"),
    ],
)
def test_a_marker_without_a_reason_is_refused(tmp_path: Path, marker: str, why: str) -> None:
    done = ran(tmp_path, marker)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert why in done.stderr


def test_ci_runs_nothing_again() -> None:
    assert "--reruns" not in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "--reruns" not in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--reruns" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
