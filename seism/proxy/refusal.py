"""A proxy that refuses clients as long as its backend refuses the proxy.

Whether a backend refuses is only known by connecting: the first client after its end
has been accepted by then and is reset, those after it are refused. The backend's
return is found by connecting, too: one connection, which is closed at once.
"""

from __future__ import annotations

import _socket
import logging
from collections.abc import Callable

from seism.errors import Unavailable
from seism.proxy.backend import Backend
from seism.proxy.dial import Dial
from seism.proxy.listener import Listener
from seism.proxy.relay import Relay
from seism.proxy.timers import Timer

logger = logging.getLogger(__name__)

PROBE = 0.1
"""Seconds between two attempts to connect to the backend."""


class Refusal:
    """Has ``listener`` refuse from ``begin`` on, until ``backend``'s addresses answer."""

    def __init__(
        self,
        relay: Relay,
        listener: Listener,
        backend: Callable[[], Backend],
        where: str,
    ) -> None:
        self._relay = relay
        self._listener = listener
        self._backend = backend
        self._where = where
        self._active = False
        self._timer: Timer | None = None
        self._dial: Dial | None = None

    def begin(self) -> None:
        """Does nothing while it refuses already."""
        if self._active:
            return
        self._active = True
        logger.info("%s: the backend does not answer, clients are refused", self._where)
        try:
            self._listener.refuse()
        except Unavailable as error:
            logger.error("%s", error)
        self._later()

    def close(self) -> None:
        """Probe no more; the listener is left as it is."""
        if self._timer is not None:
            self._timer.cancel()
        if self._dial is not None:
            self._dial.cancel()

    def _later(self) -> None:
        self._timer = self._relay.timers.at(self._relay.clock.now() + PROBE, self._probe)

    def _probe(self) -> None:
        self._dial = Dial(self._relay, self._backend(), self._answered)
        self._dial.start()

    def _answered(self, sock: _socket.socket | None) -> None:
        self._dial = None
        if sock is None:
            self._later()
            return
        sock.close()
        try:
            self._listener.listen()
        except Unavailable as error:
            logger.error("%s", error)
            self._later()
            return
        self._active = False
        logger.info("%s: the backend answers again", self._where)
