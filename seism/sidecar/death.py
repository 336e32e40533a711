"""What ended a worker that did not say goodbye, as far as the kernel tells."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from seism.journal import BROKEN, DIED, OUT_OF_MEMORY

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")
TRIES = 20
"""Looks at a process that is about to be gone: its sockets are closed a little earlier."""
PAUSE_SECONDS = 0.01
_KILLS = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)


@dataclass(slots=True)
class Watch:
    """One process, from now on. Of one that cannot be seen nothing can be told."""

    pid: int
    _counters: dict[Path, int] = field(default_factory=dict)
    _seen: bool = False

    def __post_init__(self) -> None:
        self._seen = _alive(self.pid)
        self._counters = {path: _kills(path) for path in (PROC / "vmstat", *_group(self.pid))}

    def cause(self, sleep: Callable[[float], object]) -> str:
        """``DIED``, ``OUT_OF_MEMORY``, or ``BROKEN`` if, for all that is known, it lives on.

        Out of memory is what the kernel has killed meanwhile for lack of it (the machine's
        count in proc(5), vmstat, or its group's memory.events), so another process dying at
        the same time may be taken for it.
        """
        for _ in range(TRIES if self._seen else 0):
            if not _alive(self.pid):
                grown = any(_kills(path) > before for path, before in self._counters.items())
                return OUT_OF_MEMORY if grown else DIED
            sleep(PAUSE_SECONDS)
        return BROKEN


def _alive(pid: int) -> bool:
    try:
        # The state is the field after the name, which may hold anything but ends the last ")".
        stat = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def _kills(path: Path) -> int:
    try:
        found = _KILLS.search(path.read_bytes())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _group(pid: int) -> list[Path]:
    """The counters of the process's group (cgroups(7), version 2)."""
    try:
        lines = (PROC / str(pid) / "cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [GROUPS / line[3:].lstrip("/") / "memory.events" for line in lines if line[:3] == "0::"]
