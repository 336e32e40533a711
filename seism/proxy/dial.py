"""Connecting to a backend: non-blocking, bounded in time, one address after the other."""

from __future__ import annotations

import _socket
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from seism.proxy.backend import Backend
from seism.proxy.endpoint import Endpoint
from seism.proxy.relay import Relay
from seism.proxy.timers import Timer

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
"""Seconds for each address of the backend."""

ROOM_POLL = 0.01
"""Seconds between two looks at a Unix socket whose queue is full."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""This process, or the machine, has no more descriptors or buffers."""

_WRITE = 2
_PENDING = (errno.EINPROGRESS, errno.EINTR)

Done = Callable[[_socket.socket | None], None]
"""Takes the connected socket, or None if no address answered."""


class Dial:
    """One attempt to reach a backend; calls ``done`` once, unless it is cancelled."""

    __slots__ = (
        "_backend",
        "_deadline",
        "_done",
        "_endpoints",
        "_next",
        "_relay",
        "_sock",
        "_timer",
        "_watcher",
        "was_reset",
    )

    def __init__(self, relay: Relay, backend: Backend, done: Done) -> None:
        self._relay = relay
        self._backend = backend
        self._endpoints: tuple[Endpoint, ...] = ()
        self._next = 0
        self._done = done
        self._sock: _socket.socket | None = None
        self._watcher: Any = None
        self._timer: Timer | None = None
        self._deadline: float | None = None
        self.was_reset = False
        """The backend accepted, and has reset since; what it said before can be read."""

    def start(self) -> None:
        """Connect; ``done`` may be called before this returns."""
        if self._backend.endpoints:
            self._dial()
        else:
            self._backend.look_up(self._dial)

    def _dial(self) -> None:
        self._endpoints = self._backend.endpoints
        self._try_next()

    def _try_next(self) -> None:
        while self._next < len(self._endpoints):
            endpoint = self._endpoints[self._next]
            self._next += 1
            try:
                self._sock = _socket.socket(
                    endpoint.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK
                )
                if endpoint.family != socket.AF_UNIX:
                    # Small messages are not held back.
                    self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    # Else an urgent byte would be taken out of the stream, and lost.
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
                if self._connect(self._sock, endpoint):
                    return
            except OSError as error:
                # Refusals are the backend's affair; no descriptors is ours.
                level = logging.ERROR if error.errno in EXHAUSTED else logging.DEBUG
                logger.log(level, "cannot connect to %s: %s", endpoint, error)
            self._let_go()
        self._done(None)

    def cancel(self) -> None:
        """Give up without calling ``done``."""
        self._backend.forget(self._dial)
        self._let_go()

    def _let_go(self) -> None:
        self._disarm()
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _connect(self, sock: _socket.socket, endpoint: Endpoint) -> bool:
        """False if this address has refused already."""
        code = sock.connect_ex(endpoint.sockaddr)
        if code == errno.EAGAIN and endpoint.family == socket.AF_UNIX:
            return self._wait_for_room(endpoint)
        if code not in _PENDING or _connected(sock):
            return self._settled(sock, 0 if code in _PENDING else code)
        self._watcher = self._relay.loop.io(sock.fileno(), _WRITE)
        self._watcher.start(self._writable)
        self._timer = self._relay.timers.at(
            self._relay.clock.now() + CONNECT_TIMEOUT, self._give_up
        )
        return True

    def _wait_for_room(self, endpoint: Endpoint) -> bool:
        """A Unix socket's queue is full, which no watcher tells: ask again soon."""
        now = self._relay.clock.now()
        if self._deadline is None:
            self._deadline = now + CONNECT_TIMEOUT
        if now >= self._deadline:
            return False
        self._timer = self._relay.timers.at(now + ROOM_POLL, lambda: self._ask_again(endpoint))
        return True

    def _ask_again(self, endpoint: Endpoint) -> None:
        self._timer = None
        assert self._sock is not None
        try:
            if self._connect(self._sock, endpoint):
                return
        except OSError as error:
            logger.debug("cannot connect to %s: %s", endpoint, error)
        self._give_up()

    def _writable(self) -> None:
        sock = self._sock
        assert sock is not None
        try:
            if not self._settled(sock, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                self._give_up()
        except Exception:
            logger.exception("connecting to the backend")
            self._let_go()
            self._done(None)

    def _settled(self, sock: _socket.socket, code: int) -> bool:
        """Whether the connect succeeded, by its error code."""
        # A connect that fails is refused; only what was connected can be reset.
        self.was_reset = code == errno.ECONNRESET
        if code not in (0, errno.ECONNRESET):
            return False
        if self._timer is not None:
            self._disarm()
        self._sock = None
        self._done(sock)
        return True

    def _give_up(self) -> None:
        self._let_go()
        self._try_next()

    def _disarm(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _connected(sock: _socket.socket) -> bool:
    """Whether it is done already, as on loopback: asking is cheaper than a watcher.

    Not asked by a second connect(2), which throws away what a backend has said that
    accepts and resets at once.
    """
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
