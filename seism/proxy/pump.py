"""The innermost callbacks: what every message costs when no toxic is there.

One callback reads once and sends at once, into and out of a buffer that all links share:
no allocation, no greenlet switch, no question about toxics. Reading until there is nothing
more would cost a system call per message and be unfair to the other links.

Byte counts are kept here too, since a toxic may come at any time and must know where in
the client's stream it acts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from seism_middleware.contract import DOWNSTREAM, UPSTREAM

SMALL = 64 * 1024
"""Bytes read at once from a link."""
SLICE = {UPSTREAM: 1024, DOWNSTREAM: 4 * 1024}
"""Bytes read at once from a link whose messages are parsed: all that one read brings is done before
any other link, timer or control call has its turn. A message can be as short as two bytes, and a
request is more work than a reply."""
LARGE = 256 * 1024
"""Bytes read at once from a link that fills its buffer and has been alone for a while: beside
others, less at once leaves more room for those that have little to say, and for timers."""

PURE_VARIABLE = "SEISM_PURE"
"""In the environment, other than 0: pure Python even where the compiled pump was built."""

_small = memoryview(bytearray(SMALL))
_large = memoryview(bytearray(LARGE))

ALONE = 256
"""Times in a row that the poller found one link only, and the same one."""


class Streak:
    """How often by now; the poller counts."""

    __slots__ = ("length",)

    def __init__(self) -> None:
        self.length = 0


streak = Streak()


class Socket(Protocol):
    """The part of a non-blocking socket that is used; a TLS end has it, too."""

    @property
    def family(self) -> int: ...

    def fileno(self) -> int: ...

    def getsockname(self) -> Any: ...

    def setblocking(self, flag: bool, /) -> None: ...

    def setsockopt(self, level: int, name: int, value: Any, /) -> None: ...

    def recv(self, size: int, /) -> bytes: ...

    def recv_into(self, buffer: Any, /) -> int: ...

    def send(self, data: Any, /) -> int: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


def _nothing() -> None: ...


class PurePump:
    """Moves bytes from one socket to another; a link is one, and says what else happens."""

    __slots__ = (
        "_buffer", "_receive", "_send", "answered", "callback", "other", "received", "since",
    )  # fmt: skip

    callback: Callable[[], None]
    """What the poller calls when the source is readable."""

    other: PurePump
    """The other direction of the connection."""

    def __init__(self) -> None:
        self.received = 0
        """Bytes that have been read from the sender."""
        self.since = 0
        """Upstream only: where the bytes begin that have not been answered yet."""
        self.answered = False
        """Upstream only: the backend has sent something since the client's last bytes."""
        self._buffer = _small

    def wire(self, source: Socket, sink: Socket) -> None:
        """Both are non-blocking, and open for as long as a callback may come."""
        self._receive = source.recv_into
        self._send = sink.send

    def route(self, armed: Callable[[], None] | None, upstream: bool) -> None:
        """Have what is readable handled by ``armed``, or relayed if that is None."""
        self.callback = armed or (self.relay_up if upstream else self.relay_down)

    def unwire(self) -> None:
        """No callback comes any more: refer to no other object."""
        self.callback = _nothing
        del self.other

    def relay_up(self) -> None:
        """The client's socket is readable."""
        try:
            buffer = self._buffer
            size = self._receive(buffer)
            if not size:
                self._read_end()
                return
            received = self.received
            if self.answered:
                self.since = received
                self.answered = False
            self.received = received + size
            data = buffer[:size]
            try:
                sent = self._send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._receiver_gone()
                return
            if sent != size:
                self._keep(bytes(data[sent:]))
            if size >= SMALL:
                self._filled()
        except Exception as error:
            self._failed(error)

    def relay_down(self) -> None:
        """The backend's socket is readable."""
        try:
            buffer = self._buffer
            size = self._receive(buffer)
            if not size:
                self._read_end()
                return
            self.other.answered = True
            self.received += size
            data = buffer[:size]
            try:
                sent = self._send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._receiver_gone()
                return
            if sent != size:
                self._keep(bytes(data[sent:]))
            if size >= SMALL:
                self._filled()
        except Exception as error:
            self._failed(error)

    def _filled(self) -> None:
        """It had more to say than a small buffer takes."""
        self._buffer = _large if streak.length >= ALONE else _small

    def _read_end(self) -> None:
        """The sender has ended its stream."""
        raise NotImplementedError

    def _receiver_gone(self) -> None:
        """Sending failed for good."""
        raise NotImplementedError

    def _keep(self, data: bytes) -> None:
        """The receiver does not take ``data`` now."""
        raise NotImplementedError

    def _failed(self, error: Exception) -> None:
        """Something else failed; an exception that got out would stop the watcher unseen."""
        raise NotImplementedError


if TYPE_CHECKING:
    Pump = PurePump
    COMPILED = False
else:
    # Chosen once, here, because a link is a pump: a class must know its base.
    try:
        if os.environ.get(PURE_VARIABLE, "0") not in ("", "0"):
            raise ImportError
        from seism.proxy._pump import Pump
    except ImportError:
        Pump = PurePump
    COMPILED = Pump is not PurePump
