"""How a worker ended, told of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.journal import BROKEN, DIED, OUT_OF_MEMORY
from seism.sidecar import death


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_one_that_lives(process: subprocess.Popen[bytes]) -> None:
    assert death.Watch(process.pid).cause(time.sleep) == BROKEN


@pytest.mark.parametrize("reaped", [True, False])
def test_one_that_was_killed(process: subprocess.Popen[bytes], reaped: bool) -> None:
    watch = death.Watch(process.pid)
    process.kill()
    if reaped:
        process.wait()
    else:
        # It is dead, and nobody has asked for its exit status.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert watch.cause(time.sleep) == DIED


def test_one_whose_group_ran_out_of_memory(
    process: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel counts; a test must not make it kill."""
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 1\noom_kill 3\noom_group_kill 0\n")
    monkeypatch.setattr(death, "_group", lambda pid: [events])
    watch = death.Watch(process.pid)
    events.write_text("low 0\noom 2\noom_kill 4\noom_group_kill 0\n")
    process.kill()
    process.wait()
    assert watch.cause(time.sleep) == OUT_OF_MEMORY


def test_one_that_cannot_be_seen() -> None:
    """It is in another container, say."""
    assert death.Watch(0).cause(time.sleep) == BROKEN
