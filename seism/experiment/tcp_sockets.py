"""The TCP sockets of processes, as Linux lists them (proc(5))."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Address = tuple[str, int]
"""(IP address, port)."""

ESTABLISHED, LISTEN = 1, 10
"""States in ``/proc/net/tcp`` (include/net/tcp_states.h)."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """One line of ``/proc/PID/net/tcp``."""

    local: Address
    remote: Address
    state: int
    inode: int


def listed(pid: int) -> Iterator[Tcp]:
    """All sockets of the network namespace of ``pid``; none if it is gone or another user's."""
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines[1:]:
            words = line.split()
            yield Tcp(_address(words[1]), _address(words[2]), int(words[3], 16), int(words[9]))


def inodes(pid: int) -> Iterator[int]:
    """Those of the sockets that ``pid`` has open; none if it is gone or another user's."""
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
            yield int(link[len("socket:[") : -1])


def _address(text: str) -> Address:
    """``0100007F:1F90`` is 127.0.0.1, port 8080: words of 32 bits in the machine's own order. An
    IPv4 address in IPv6 is shown as IPv4.
    """
    digits, _, port = text.partition(":")
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    raw = struct.pack(f"={len(words)}I", *words)
    host = socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, raw)
    return host.removeprefix("::ffff:"), int(port, 16)
