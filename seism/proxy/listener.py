"""A listening socket that accepts in bursts."""

from __future__ import annotations

import _socket
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from seism.errors import Unavailable
from seism.model import show_address
from seism.proxy.dial import EXHAUSTED
from seism.proxy.endpoint import Endpoint
from seism.proxy.relay import Relay
from seism.proxy.timers import Timer

logger = logging.getLogger(__name__)

BACKLOG = 1024
BURST = 16
"""Connections accepted per callback; the loop's other work comes in between."""
PAUSE = 0.1
"""Seconds without accepting after the process ran out of descriptors."""

_READ = 1

Accepted = Callable[[_socket.socket, tuple[Any, ...]], None]
"""Takes a new connection and its peer's address, and owns the socket from then on."""


class Listener:
    """Listens from its making until ``close``."""

    def __init__(
        self, relay: Relay, endpoints: Sequence[Endpoint], accepted: Accepted, where: str
    ) -> None:
        """Binds the first address that lets it. Raises Unavailable if none does."""
        self._relay = relay
        self._accepted = accepted
        self._where = where
        self._exhausted = False
        self._resume_timer: Timer | None = None
        self._sock = _bind(endpoints, where)
        self.address: tuple[str, int] = self._sock.getsockname()[:2]
        self._watcher = relay.loop.io(self._sock.fileno(), _READ)
        self._watcher.start(self._acceptable)

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        if self._resume_timer is not None:
            self._resume_timer.cancel()
        self._watcher.stop()
        self._watcher.close()
        self._sock.close()

    def _acceptable(self) -> None:
        try:
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
                self._pause(error)
                return False
            return True  # the client went away before it was accepted
        sock = _socket.socket(self._sock.family, socket.SOCK_STREAM, self._sock.proto, fileno=fd)
        self._accepted(sock, peer)
        return self._sock.fileno() >= 0

    def _pause(self, error: OSError) -> None:
        # The socket stays readable: without a pause the loop would spin.
        if not self._exhausted:
            self._exhausted = True
            logger.error("%s: cannot accept connections: %s", self._where, error.strerror)
        self._watcher.stop()
        self._resume_timer = self._relay.timers.at(self._relay.clock.now() + PAUSE, self._resume)

    def _resume(self) -> None:
        self._watcher.start(self._acceptable)


def _bind(endpoints: Sequence[Endpoint], where: str) -> _socket.socket:
    failure = ""
    for endpoint in endpoints:
        sock = _socket.socket(endpoint.family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # What is accepted inherits it: a call less per connection.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            sock.bind(endpoint.sockaddr)
            sock.listen(BACKLOG)
            return sock
        except OSError as error:
            sock.close()
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            failure = f"cannot listen on {show_address(*endpoint.sockaddr[:2])}: {reason}"
    raise Unavailable(f"{where}: {failure}")
