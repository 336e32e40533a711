"""The app's processes, as ``/proc`` shows them: TCP connections, ports, libraries (proc(5)).

Only what the user of this process may read; a process that is another user's shows nothing.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seism.experiment.guard import descendants
from seism_middleware.contract import SIDECAR_VARIABLE

Address = tuple[str, int]
"""(IP address, port)."""

LIBRARIES = {
    "libmariadb": "MariaDB Connector/C",
    "libmysqlclient": "MySQL's C client",
    "libpq": "libpq",
    "libldap": "libldap",
    "libmemcached": "libmemcached",
    "libcurl": "libcurl",
    "libhiredis": "hiredis",
    "librdkafka": "librdkafka",
    "libmongoc": "libmongoc",
    "libsybdb": "FreeTDS",
    "libclntsh": "Oracle's C client",
    "libodbc": "unixODBC",
    "librabbitmq": "librabbitmq",
    "libvalkey": "libvalkey",
    "libgrpc": "gRPC",
    "cygrpc": "gRPC",
}
"""The name of a shared library begins so -> the client that talks to a backend through it."""
_LIBRARY = re.compile(rf"/({'|'.join(LIBRARIES)})[-.\w]*\.so")
_LISTEN = "0A"
"""State of a row of /proc/net/tcp."""


@dataclass(slots=True)
class AppProcess:
    """One process of the app."""

    pid: int
    name: str
    """Its command, without arguments: those may hold passwords."""
    listens: set[int] = field(default_factory=set)
    connections: set[tuple[Address, Address]] = field(default_factory=set)
    """(local end, remote end) of each TCP connection that was seen."""
    libraries: set[str] = field(default_factory=set)
    told: bool | None = None
    """Whether its environment names the sidecar; None: it cannot be read."""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})"


class Processes:
    """What all looks together have shown of the processes below ``root``."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._known: dict[int, AppProcess] = {}

    def __iter__(self) -> Iterator[AppProcess]:
        return iter(self._known.values())

    def look(self) -> None:
        """Add what there is now."""
        sockets: dict[int, AppProcess] = {}
        for pid in descendants(self._root):
            process = self._known.get(pid) or _process(pid)
            if process is not None:
                self._known[pid] = process
                sockets |= dict.fromkeys(_sockets(pid), process)
        for pid in list(self._known)[:1]:
            for local, remote, state, inode in _rows(pid):
                owner = sockets.get(inode)
                if owner is None:
                    continue
                if state == _LISTEN:
                    owner.listens.add(local[1])
                else:
                    owner.connections.add((local, remote))

    def look_inside(self) -> None:
        """Add the libraries that are loaded now, which takes longer."""
        for process in self:
            maps = _read(process.pid, "maps").decode(errors="replace")
            process.libraries |= {LIBRARIES[match[1]] for match in _LIBRARY.finditer(maps)}
            environment = _read(process.pid, "environ")
            if environment:
                process.told = b"\0%s=" % SIDECAR_VARIABLE.encode() in b"\0" + environment


def _process(pid: int) -> AppProcess | None:
    name = _read(pid, "comm").decode(errors="replace").strip()
    return AppProcess(pid, name) if name else None


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _sockets(pid: int) -> Iterator[int]:
    """The inodes of its sockets."""
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        if target.startswith("socket:["):
            yield int(target[8:-1])


def _rows(pid: int) -> Iterator[tuple[Address, Address, str, int]]:
    """Of the tables of TCP sockets: local end, remote end, state, inode."""
    for table in ("net/tcp", "net/tcp6"):
        for line in _read(pid, table).decode().splitlines()[1:]:
            words = line.split()
            yield _address(words[1]), _address(words[2]), words[3], int(words[9])


def _address(text: str) -> Address:
    """``0100007F:1F90`` is 127.0.0.1, port 8080; an IPv4 address in IPv6 is shown as IPv4."""
    host, _, port = text.partition(":")
    words = [int(host[at : at + 8], 16) for at in range(0, len(host), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    if len(packed) == 16 and packed.startswith(b"\0" * 10 + b"\xff\xff"):
        packed = packed[12:]
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, packed), int(port, 16)
