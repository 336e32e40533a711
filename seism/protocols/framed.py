"""What codecs of length-prefixed messages share: cutting a stream, and who waits for a reply."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from seism.protocols.base import COMMAND, Codec, Exchange, Piece, ProtocolError
from seism.protocols.stream import forget

__all__ = ["Frame", "Framed", "Until"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One message, or several that are alike, of which the beginning has been seen."""

    size: int
    """Bytes, at least 1, from where it begins; they may not all be there yet."""
    exchange: Exchange | None = None
    first: bool = False
    last: bool = False
    cut: bool = False
    """More of its message follows in further frames, see ``Piece.cut``."""


@dataclass(frozen=True, slots=True)
class Until:
    """Not enough is there: the message has a part that ends with ``mark``."""

    mark: bytes
    limit: int
    """Bytes from where the message begins: with so many it is asked again in any case."""


Head = Frame | int | Until
"""A frame, or what must have come before there is one: so many bytes, or a mark."""

E = TypeVar("E", bound=Exchange)


class Framed(Codec, Generic[E]):
    """A codec whose subclass says, where a message begins, how long it is and whose.

    ``_request`` and ``_reply`` get bytes and the index at which a message begins, and return
    its Frame, or what must have come before they can tell: they are not asked before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._waiting: deque[E] = deque()
        self._cutters = {
            "upstream": _Cutter(self, self._request, False),
            "downstream": _Cutter(self, self._reply, True),
        }

    def _request(self, buffer: bytes, at: int) -> Head:
        raise NotImplementedError

    def _reply(self, buffer: bytes, at: int) -> Head:
        raise NotImplementedError

    def _passed(self, exchange: Exchange | None, *, reply: bool) -> None:
        """The last piece of a request, or of a reply, has come out."""

    def _new(self, kind: str, phase: str, answer: str) -> E:
        """The next exchange, which waits for its reply; ``answer``: how that is told."""
        raise NotImplementedError

    def _silent(self, kind: str, phase: str = COMMAND) -> E:
        """One that is not answered."""
        exchange = self._new(kind, phase, "")
        exchange.replies, exchange.answered = False, True
        self._waiting.pop()
        return exchange

    def receive(self, stream: str, data: bytes) -> Iterator[Piece]:
        return self._cutters[stream].feed(data)

    def eof(self, stream: str) -> Iterator[Piece]:
        return self._cutters[stream].flush()

    def held(self, stream: str) -> bytes:
        return bytes(self._cutters[stream].buffer)

    def holds(self, stream: str) -> int:
        return len(self._cutters[stream].buffer)

    @property
    def unanswered(self) -> int:
        return len(self._waiting)

    def payload_left(self, stream: str) -> int:
        return self._cutters[stream].left

    def skip(self, exchange: Exchange) -> None:
        forget(self._waiting, cast(E, exchange))


class _Cutter:
    """One stream: bytes in, pieces out; as few pieces as boundaries allow."""

    def __init__(
        self, codec: Framed[Any], head: Callable[[bytes, int], Head], replies: bool
    ) -> None:
        self._codec = codec
        self._head = head
        self._replies = replies
        self.buffer = bytearray()
        """What has come and has not gone out."""
        self._need: int | Until = 0
        """What must be in the buffer before ``_head`` is asked about its beginning."""
        self._searched = 0
        self._frame = Frame(0)
        self.left = 0
        """Bytes of the present frame that have not come."""
        self._first = False

    def feed(self, data: bytes) -> Iterator[Piece]:
        if self.buffer:
            self.buffer += data
            if self._codec.upgrading or not self._enough():
                return
            data = bytes(self.buffer)
        # From ``begin`` to ``at``: known, all of one exchange, and not out yet.
        begin = at = 0
        try:
            while at < len(data) and not (self._codec.opaque or self._codec.upgrading):
                if not self.left:
                    frame = self._head(data, at)
                    if not isinstance(frame, Frame):
                        self._need, self._searched = frame, 0
                        break
                    if at > begin and (frame.first or frame.exchange is not self._frame.exchange):
                        begin, run = at, data[begin:at]
                        yield self._piece(run)
                    self._frame, self.left, self._first = (
                        frame,
                        frame.size,
                        (frame.first or (self._first and at > begin)),
                    )
                size = min(self.left, len(data) - at)
                self.left -= size
                at += size
                if self._frame.last and not self.left:
                    begin, run = at, data[begin:at]
                    exchange = self._frame.exchange
                    yield self._piece(run, last=True)
                    self._codec._passed(exchange, reply=self._replies)
            if at > begin:
                begin, run = at, data[begin:at]
                yield self._piece(run)
            if self._codec.opaque and at < len(data):
                begin = len(data)
                yield Piece(data[at:], None)
        except ProtocolError:
            if at > begin:
                begin, run = at, data[begin:at]
                yield self._piece(run)
            raise
        finally:
            self.buffer[:] = data[begin:]

    def _enough(self) -> bool:
        need = self._need
        if not isinstance(need, Until):
            return len(self.buffer) >= need
        start, self._searched = self._searched, max(0, len(self.buffer) - len(need.mark) + 1)
        return len(self.buffer) >= need.limit or self.buffer.find(need.mark, start) >= 0

    def _piece(self, data: bytes, last: bool = False) -> Piece:
        exchange, first = self._frame.exchange, self._first
        self._first = False
        if exchange is not None:
            if self._replies:
                exchange.reply_size += len(data)
                exchange.answered = exchange.answered or last
            else:
                exchange.request_size += len(data)
        return Piece(data, exchange, first, last, cut=self.left > 0 or self._frame.cut)

    def flush(self) -> Iterator[Piece]:
        held = bytes(self.buffer)
        self.buffer.clear()
        if held:
            yield Piece(held, None)
