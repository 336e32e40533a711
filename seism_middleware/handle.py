"""Sockets that a C library has opened: looked at by their descriptors, never closed.

The library may close a descriptor at any moment, and the next one who opens something gets
the same number. So a socket is known by its local address as well.
"""

from __future__ import annotations

import _socket
import os
from collections.abc import Iterator
from typing import Any

Socket = _socket.socket
"""Past our own patches, and past gevent's."""


class Handle:
    """One socket of somebody else; what the ledger asks of a socket can be asked of it."""

    __slots__ = ("__weakref__", "_fd", "_local")

    def __init__(self, fd: int) -> None:
        """Raises OSError if ``fd`` is no socket."""
        self._fd = fd
        self._local = self.getsockname()

    def fileno(self) -> int:
        """The descriptor, -1 once it is another socket's or nobody's."""
        try:
            return self._fd if self.getsockname() == self._local else -1
        except OSError:
            return -1

    def getsockname(self) -> Any:
        return self._ask("getsockname")

    def getpeername(self) -> Any:
        return self._ask("getpeername")

    def getsockopt(self, level: int, name: int, size: int) -> Any:
        return self._ask("getsockopt", level, name, size)

    def _ask(self, method: str, *args: int) -> Any:
        # The family is none that we need: addresses come with their own.
        sock = Socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, self._fd)
        try:
            return getattr(sock, method)(*args)
        finally:
            sock.detach()


def connected() -> Iterator[tuple[Handle, Any]]:
    """Every socket of this process that has a peer, and the peer's address."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return
    for name in names:
        try:
            handle = Handle(int(name))
            yield handle, handle.getpeername()
        except OSError:
            continue
