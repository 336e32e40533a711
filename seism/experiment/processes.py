"""The app's processes, as ``/proc`` shows them: TCP connections, ports, libraries (proc(5)).

Only what the user of this process may read; a process that is another user's shows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seism.experiment.guard import descendants
from seism.experiment.tcp_sockets import LISTEN, Address, inodes, listed
from seism_middleware.contract import SIDECAR_VARIABLE

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
                sockets |= dict.fromkeys(inodes(pid), process)
        for pid in list(self._known)[:1]:
            for each in listed(pid):
                owner = sockets.get(each.inode)
                if owner is None:
                    continue
                if each.state == LISTEN:
                    owner.listens.add(each.local[1])
                else:
                    owner.connections.add((each.local, each.remote))

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
