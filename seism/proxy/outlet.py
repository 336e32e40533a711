"""The way out of a link: to its receiver at once, or into a backlog until that has room.

What the receiver does not take yet stops the reading, so the backlog holds little more than
what one read, or the stages before it, let out. Small pieces share a buffer in it: a flood of
single bytes costs their bytes, not an object each.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import Any, Protocol

MERGED = 4096
"""Bytes of a piece that is kept by itself; smaller ones share a buffer."""
BUFFER = 64 * 1024
"""Bytes of a buffer to which no further piece is added."""

_WRITE = 2


class ConnectionOver(Exception):
    """The connection has been closed, so nothing that was going on continues.

    Raised by whatever ends a connection from within, and caught where the event loop or
    control came in: nobody in between has to ask whether the connection is still there.
    """


class OutletOwner(Protocol):
    """What an outlet tells: a link."""

    def regulate(self) -> None:
        """The backlog has begun, or is gone."""

    def end_sent(self) -> None:
        """All that came before the end of the stream has been sent."""

    def receiver_gone(self) -> None:
        """Sending failed for good."""

    def failed(self, error: Exception) -> None:
        """An exception has reached the event loop."""


class Outlet:
    """Sends to one receiver, in order."""

    __slots__ = (
        "_backlog",
        "_ends",
        "_loop",
        "_owner",
        "_sent_of_head",
        "_sink",
        "_writer",
        "closes",
        "finished",
        "waiting",
    )

    def __init__(self, owner: OutletOwner, loop: Any) -> None:
        self._owner = owner
        self._loop = loop
        self._sink: Any = None
        """The receiver's socket; None as long as the backend has not been reached."""
        self._writer: Any = None
        self._backlog: deque[bytes | bytearray] | None = None
        """None for nothing, as it mostly is."""
        self._sent_of_head = 0
        self._ends = False
        """The end of the stream waits behind the backlog."""
        self.waiting = 0
        """Bytes in the backlog."""
        self.closes = False
        """With the end of the stream the whole connection ends."""
        self.finished = False
        """Nothing more will be sent: the end has been passed on, or the receiver is gone."""

    @property
    def is_open(self) -> bool:
        return self._sink is not None

    def open(self, sink: Any) -> None:
        """There is a receiver; ``resume`` sends what has waited for it."""
        self._sink = sink

    def resume(self) -> None:
        """Send what came before the receiver did."""
        if self.waiting:
            self._watch()
        elif self._ends:
            self._owner.end_sent()

    def send(self, data: bytes) -> None:
        """Send ``data`` after all that came before."""
        if self.waiting or self._sink is None:
            self.keep(data)
            return
        try:
            sent = self._sink.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._owner.receiver_gone()
            return
        if sent != len(data):
            self.keep(data[sent:])

    def keep(self, data: bytes) -> None:
        """The receiver does not take ``data`` now."""
        first = not self.waiting
        self._append(data)
        if first:
            if self._sink is not None:
                self._watch()
            self._owner.regulate()

    def end(self, closes: bool) -> None:
        """The stream ends; with ``closes`` the connection does, too."""
        self.closes |= closes
        if self.waiting or self._sink is None:
            self._ends = True
        else:
            self._owner.end_sent()

    def shut(self) -> None:
        """Pass the end of the stream on."""
        try:
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the receiver is gone; its own direction says how

    def abandon(self) -> int:
        """Nothing more will be sent; how many bytes are given up with that."""
        self.finished = True
        if self._writer is not None:
            self._writer.stop()
        given_up, self.waiting, self._backlog = self.waiting, 0, None
        return given_up

    def close(self) -> int:
        """Stop for good, and refer to no other object; how many bytes are given up."""
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
            self._writer = None
        given_up, self.waiting, self._backlog = self.waiting, 0, None
        del self._owner
        return given_up

    def _append(self, data: bytes) -> None:
        if self._backlog is None:
            self._backlog = deque()
        self.waiting += len(data)
        if len(data) >= MERGED:
            self._backlog.append(data)
            return
        last = self._backlog[-1] if self._backlog else b""
        if isinstance(last, bytearray) and len(last) < BUFFER:
            last += data
        else:
            self._backlog.append(bytearray(data))

    def _watch(self) -> None:
        if self._writer is None:
            self._writer = self._loop.io(self._sink.fileno(), _WRITE)
        self._writer.start(self._writable)

    def _writable(self) -> None:
        owner = self._owner
        try:
            while self._backlog:
                if not self._send_head(self._backlog):
                    return
            self._backlog = None
            self._writer.stop()
            if self._ends:
                owner.end_sent()
            else:
                owner.regulate()
        except Exception as error:
            owner.failed(error)

    def _send_head(self, backlog: deque[bytes | bytearray]) -> bool:
        """Whether the whole first piece has been taken."""
        try:
            with memoryview(backlog[0]) as piece, piece[self._sent_of_head :] as rest:
                sent = self._sink.send(rest)
        except BlockingIOError:
            return False
        except OSError:
            self._owner.receiver_gone()
            return False
        self.waiting -= sent
        self._sent_of_head += sent
        if self._sent_of_head < len(backlog[0]):
            return False
        backlog.popleft()
        self._sent_of_head = 0
        return True
