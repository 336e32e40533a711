"""The TCP connections of a process and its descendants, as Linux lists them (proc(5))."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seism.experiment import guard

DESCENDANTS_SECONDS = 0.3
"""Between two looks at which processes the app has."""

ESTABLISHED, LISTEN = 1, 10
"""States in ``/proc/net/tcp`` (include/net/tcp_states.h)."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """One line of ``/proc/PID/net/tcp``."""

    local: tuple[str, int]
    remote: tuple[str, int]
    state: int
    inode: str


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
        self._owned: dict[str, bool] = {}

    def look(self) -> Sockets:
        """What there is now."""
        if time.monotonic() - self._since > DESCENDANTS_SECONDS:
            self._pids = [self._root, *guard.descendants(self._root)]
            self._since = time.monotonic()
            # A socket may have been made before its process was known.
            self._owned = {inode: True for inode, ours in self._owned.items() if ours}
        listed = [entry for entry in _listed(self._root) if entry.state in (ESTABLISHED, LISTEN)]
        if any(entry.inode not in self._owned for entry in listed):
            ours = {inode for pid in self._pids for inode in _inodes(pid)}
            self._owned = {
                entry.inode: entry.inode in ours or self._owned.get(entry.inode, False)
                for entry in listed
            }
        found = [entry for entry in listed if self._owned[entry.inode]]
        listening = frozenset(entry.local[1] for entry in found if entry.state == LISTEN)
        remote = frozenset(
            entry.remote for entry in found
            if entry.state == ESTABLISHED and not {entry.local[1], entry.remote[1]} & listening
        )  # fmt: skip
        return Sockets(listening, remote)


def _inodes(pid: int) -> Iterator[str]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for name in names:
        try:
            link = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if link.startswith("socket:["):
            yield link[len("socket:[") : -1]


def _listed(pid: int) -> Iterator[Tcp]:
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines[1:]:
            words = line.split()
            yield Tcp(_address(words[1]), _address(words[2]), int(words[3], 16), words[9])


def _address(text: str) -> tuple[str, int]:
    """``0100007F:1F90``: words of 32 bits in the machine's own order."""
    digits, _, port = text.partition(":")
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    raw = struct.pack(f"={len(words)}I", *words)
    host = socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, raw)
    return host.removeprefix("::ffff:"), int(port, 16)
