"""A listening socket that accepts in bursts; the file of one that is a Unix socket.

That file is made private, removed again, and never somebody else's.
"""

from __future__ import annotations

import _socket
import errno
import logging
import os
import resource
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from seism.errors import Unavailable
from seism.model import address
from seism.proxy.dial import EXHAUSTED
from seism.proxy.endpoint import Endpoint, show_name
from seism.proxy.relay import Relay
from seism.proxy.timers import Timer

logger = logging.getLogger(__name__)

BACKLOG = 1024
BURST = 16
"""Connections accepted per callback; the loop's other work comes in between."""
PAUSE = 0.1
"""Seconds without accepting after the process ran out of descriptors."""
RESERVE = 64
"""Descriptors that no client gets, so that control is answered when all others are taken."""

_READ = 1

Accepted = Callable[[_socket.socket, Any], None]
"""Takes a new connection and its peer's address, and owns the socket from then on."""


class Listener:
    """Listens from its making until ``close``, except between ``refuse`` and ``listen``."""

    def __init__(
        self, relay: Relay, endpoints: Sequence[Endpoint], accepted: Accepted, where: str
    ) -> None:
        """Binds the first address that lets it. Raises Unavailable if none does."""
        self._relay = relay
        self._accepted = accepted
        self._where = where
        self._exhausted = False
        self._resume_timer: Timer | None = None
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._ceiling = limit - min(RESERVE, limit // 4)
        self._watcher: Any = None
        self._file: SocketFile | None = None
        self._sock = self._bind(endpoints)
        self._endpoint = Endpoint(self._sock.family, self._sock.getsockname())
        self.address = address(show_name(self._endpoint.sockaddr), where)
        self.listen()

    @property
    def has_port(self) -> bool:
        """Whether the address is a host and a port, not a path."""
        return not isinstance(self._endpoint.sockaddr, str)

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._stop_watching()
        self._sock.close()
        if self._file is not None:
            self._file.remove()

    def refuse(self) -> None:
        """Have the kernel refuse clients, and keep the address.

        Those that wait to be accepted are reset. Raises Unavailable if the address was
        taken in between; nothing is there then, which refuses as well.
        """
        self.close()
        # Bound, and not listening: that is what refuses, and nobody else can take it.
        self._sock = self._bind((self._endpoint,))

    def listen(self) -> None:
        """Take clients. Raises Unavailable if the address was lost while it refused."""
        if self._sock.fileno() < 0:
            self._sock = self._bind((self._endpoint,))
        try:
            self._sock.listen(BACKLOG)
        except OSError as error:
            self.close()
            raise self._unavailable(self._endpoint, error) from None
        self._watcher = self._relay.loop.io(self._sock.fileno(), _READ)
        self._watcher.start(self._acceptable)

    def _stop_watching(self) -> None:
        if self._resume_timer is not None:
            self._resume_timer.cancel()
            self._resume_timer = None
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None

    def _acceptable(self) -> None:
        try:
            if self._exhausted and not self._has_room():
                self._pause("")
                return
            for _ in range(BURST):
                if not self._accept():
                    return
        except Exception:
            logger.exception("%s: accepting a connection failed", self._where)

    def _accept(self) -> bool:
        """Whether to go on with this burst."""
        try:
            fd, peer = self._sock._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            self._exhausted = False
            return False
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._pause(str(error.strerror))
                return False
            return True  # the client went away before it was accepted
        sock = _socket.socket(self._sock.family, socket.SOCK_STREAM, self._sock.proto, fileno=fd)
        self._accepted(sock, peer)
        if self._watcher is None:
            return False
        # A new descriptor is the lowest that is free: they are used up to this one.
        if fd >= self._ceiling:
            self._pause(f"{fd + 1} descriptors are in use")
            return False
        return True

    def _has_room(self) -> bool:
        """Whether a connection would find two descriptors below the reserve."""
        try:
            fd = os.dup(self._sock.fileno())
        except OSError:
            return False
        os.close(fd)
        return fd + 1 < self._ceiling

    def _pause(self, reason: str) -> None:
        # The socket stays readable: without a pause the loop would spin.
        if not self._exhausted:
            self._exhausted = True
            logger.error("%s: cannot accept connections: %s", self._where, reason)
        self._watcher.stop()
        self._resume_timer = self._relay.timers.at(self._relay.clock.now() + PAUSE, self._resume)

    def _resume(self) -> None:
        self._resume_timer = None
        self._watcher.start(self._acceptable)

    def _bind(self, endpoints: Sequence[Endpoint]) -> _socket.socket:
        failure: Unavailable | None = None
        for endpoint in endpoints:
            sock = _socket.socket(endpoint.family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                if isinstance(endpoint.sockaddr, str):
                    self._file = SocketFile.bind(sock, endpoint.sockaddr)
                    return sock
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                # Accepted sockets inherit both: small messages are not held back, and an
                # urgent byte stays in its stream.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
                sock.bind(endpoint.sockaddr)
                return sock
            except OSError as error:
                sock.close()
                failure = self._unavailable(endpoint, error)
        assert failure is not None
        raise failure

    def _unavailable(self, endpoint: Endpoint, error: OSError) -> Unavailable:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        return Unavailable(f"{self._where}: cannot listen on {endpoint}: {reason}")


MODE = 0o600
"""Only the owner may connect: connecting needs the right to write (unix(7))."""


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A file that ``bind`` made."""

    path: str
    _device: int
    _inode: int

    @classmethod
    def bind(cls, sock: _socket.socket, path: str) -> SocketFile:
        """Bind ``sock``, and take over a file that a dead server has left behind.

        Raises OSError, EADDRINUSE for a file that is not a socket or has somebody listening.
        """
        # Linux makes the file with the mode of the unbound socket: it is never open to others.
        os.fchmod(sock.fileno(), MODE)
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_stale(path):
                raise
            os.unlink(path)
            sock.bind(path)
        status = os.lstat(path)
        return cls(path, status.st_dev, status.st_ino)

    def remove(self) -> None:
        """Unlink it, unless another file has its name by now."""
        try:
            status = os.lstat(self.path)
            if (status.st_dev, status.st_ino) == (self._device, self._inode):
                os.unlink(self.path)
        except OSError:
            pass  # somebody else was faster, or has taken the folder away


def _is_stale(path: str) -> bool:
    """Whether it is a socket that nobody listens on."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED
