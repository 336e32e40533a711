"""The sidecar that is attacked, and what an attack can want to know of it."""

from __future__ import annotations

import enum
import functools
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil

from seism.client import Control
from tests.processes import process

Address = tuple[str, int]
FULL_BYTES = 32 * 1024


class Target(Control):
    """Its control API, as an attack sees it."""

    pid: int
    front: Address
    """Where its front listens; only of a target that has one."""

    def descriptors(self) -> int:
        """The open files of the process."""
        return psutil.Process(self.pid).num_fds()


class Disk(enum.Enum):
    """What can be wrong with a journal's disk, made by the kernel's own means."""

    FULL = f"has room for {FULL_BYTES} bytes"
    STALLED = "takes the first line, and nothing from then on: a pipe that nobody reads"


@contextmanager
def target(
    folder: Path, app: str = "", disk: Disk | None = None
) -> Iterator[tuple[Target, subprocess.Popen[bytes]]]:
    """A sidecar, in front of ``app`` if there is one, with this ``disk`` or a good one."""
    command = (
        ["serve"] if not app else ["front", "--app", f"http://{app}", "--listen", "127.0.0.1:0"]
    )
    journal = str(folder / "journal.jsonl")
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (FULL_BYTES, FULL_BYTES))
    with (
        _unread(journal) if disk is Disk.STALLED else nullcontext(),
        (folder / "log").open("wb") as log,
        process(
            sys.executable, "-m", "seism", *command, "--port", "0", "--journal", journal,
            stdout=subprocess.PIPE, stderr=log, preexec_fn=limit if disk is Disk.FULL else None,
        ) as child,
    ):  # fmt: skip
        assert child.stdout is not None
        addresses = [_address(child.stdout.readline()) for _ in range(2 if app else 1)]
        found = Target(*addresses[0], timeout=120)
        found.pid, found.front = child.pid, addresses[-1]
        yield found, child


@contextmanager
def _unread(path: str) -> Iterator[None]:
    """A pipe at ``path`` that is open for reading."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield
    finally:
        os.close(reader)


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
