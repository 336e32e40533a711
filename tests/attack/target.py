"""The sidecar that is attacked, and what an attack can want to know of it."""

from __future__ import annotations

import functools
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from seism.client import Control
from tests.processes import process

Address = tuple[str, int]


class Target(Control):
    """Its control API, as an attack sees it."""

    pid: int
    front: Address
    """Where its front listens; only of a target that has one."""

    def descriptors(self) -> int:
        """The open files of the process."""
        return psutil.Process(self.pid).num_fds()


@contextmanager
def target(
    folder: Path, app: str = "", journal_bytes: int = 0
) -> Iterator[tuple[Target, subprocess.Popen[bytes]]]:
    """A sidecar, in front of ``app`` if there is one; ``journal_bytes``: where its disk is full."""
    command = (
        ["serve"] if not app else ["front", "--app", f"http://{app}", "--listen", "127.0.0.1:0"]
    )
    journal = str(folder / "journal.jsonl")
    limit = functools.partial(
        resource.setrlimit, resource.RLIMIT_FSIZE, (journal_bytes, journal_bytes)
    )
    with (
        (folder / "log").open("wb") as log,
        process(
            sys.executable, "-m", "seism", *command, "--port", "0", "--journal", journal,
            stdout=subprocess.PIPE, stderr=log, preexec_fn=limit if journal_bytes else None,
        ) as child,
    ):  # fmt: skip
        assert child.stdout is not None
        addresses = [_address(child.stdout.readline()) for _ in range(2 if app else 1)]
        found = Target(*addresses[0], timeout=120)
        found.pid, found.front = child.pid, addresses[-1]
        yield found, child


def _address(line: bytes) -> Address:
    host, _, port = line.decode().strip().removeprefix("http://").rpartition(":")
    return host, int(port)


def until(seconds: float, done: Callable[[], bool]) -> bool:
    """Whether ``done`` becomes true in that time."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if done():
            return True
        pause.wait(0.05)
    return done()
