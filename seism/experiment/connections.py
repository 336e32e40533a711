"""The TCP connections of a process and its descendants, as Linux lists them (proc(5))."""

from __future__ import annotations

import time
from dataclasses import dataclass

from seism.experiment import guard
from seism.experiment.tcp_sockets import ESTABLISHED, LISTEN, inodes, listed

DESCENDANTS_SECONDS = 0.3
"""Between two looks at which processes the app has."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """Of all processes of an app."""

    listening: frozenset[int]
    """Ports."""
    remote: frozenset[tuple[str, int]]
    """Addresses that the app is connected to; not those of its clients or its own processes."""


class SocketWatch:
    """Looks again and again at the sockets of the process ``root`` and of its descendants.

    A client in C may keep a connection for milliseconds only. So a look reads the list of sockets,
    and asks whose they are for new ones alone.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._pids: list[int] = []
        self._since = 0.0
        self._owned: dict[int, bool] = {}

    def look(self) -> Sockets:
        """What there is now."""
        if time.monotonic() - self._since > DESCENDANTS_SECONDS:
            self._pids = [self._root, *guard.descendants(self._root)]
            self._since = time.monotonic()
            # A socket may have been made before its process was known.
            self._owned = {inode: True for inode, ours in self._owned.items() if ours}
        entries = [entry for entry in listed(self._root) if entry.state in (ESTABLISHED, LISTEN)]
        if any(entry.inode not in self._owned for entry in entries):
            ours = {inode for pid in self._pids for inode in inodes(pid)}
            self._owned = {
                entry.inode: entry.inode in ours or self._owned.get(entry.inode, False)
                for entry in entries
            }
        found = [entry for entry in entries if self._owned[entry.inode]]
        listening = frozenset(entry.local[1] for entry in found if entry.state == LISTEN)
        remote = frozenset(
            entry.remote for entry in found
            if entry.state == ESTABLISHED and not {entry.local[1], entry.remote[1]} & listening
        )  # fmt: skip
        return Sockets(listening, remote)
