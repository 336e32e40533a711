"""One stream of a connection, and the codec made of two of them.

A parser is a generator: it yields pieces, and ``None`` where it can't go on without more
bytes. What it has not cut yet is held in its stream's buffer.

::

    def parse(self, stream):                      def replies(self):
        length = yield from stream.until(EOL)         ...
        yield stream.piece(length, exchange, ...)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import TypeVar

from seism.errors import ProtocolError
from seism.protocols.base import COMMAND, HELD_LIMIT, Codec, Exchange, Piece

T = TypeVar("T")
Parser = Generator[Piece | None, None, None]
Wait = Generator[None, None, T]
"""Yields until there is enough, then returns it."""


class Stream:
    """What has come of one stream and has not gone out."""

    def __init__(self, reply: bool) -> None:
        self.buffer = bytearray()
        self.payload_left = 0
        """Bytes of the present payload that have not come."""
        self._reply = reply

    def until(self, mark: bytes) -> Wait[int]:
        """How many bytes there are up to and with the first ``mark``.

        Raises ProtocolError where they are more than may be held.
        """
        start = 0
        while (at := self.buffer.find(mark, start, HELD_LIMIT)) < 0:
            if len(self.buffer) >= HELD_LIMIT:
                raise ProtocolError(f"no {mark!r} in {HELD_LIMIT} bytes")
            start = max(0, len(self.buffer) - len(mark) + 1)
            yield
        return at + len(mark)

    def least(self, count: int) -> Wait[None]:
        """Until ``count`` bytes are there; at most ``HELD_LIMIT``, or nothing may be held."""
        if count > HELD_LIMIT:
            raise ProtocolError(f"a head of {count} bytes, more than {HELD_LIMIT}")
        while len(self.buffer) < count:
            yield

    def piece(
        self,
        length: int,
        exchange: Exchange | None,
        *,
        first: bool = False,
        last: bool = False,
        cut: bool = False,
    ) -> Piece:
        """The next ``length`` bytes, which are there."""
        data = bytes(self.buffer[:length])
        del self.buffer[:length]
        if exchange is not None:
            if self._reply:
                exchange.reply_size += length
                exchange.answered = exchange.answered or last
            else:
                exchange.request_size += length
        return Piece(data, exchange, first, last, cut)

    def payload(
        self, length: int, exchange: Exchange | None, *, first: bool = False, last: bool = False
    ) -> Parser:
        """The next ``length`` bytes as pieces, as they come; ``last`` is true of the last one."""
        while length:
            while not self.buffer:
                yield None
            size = min(length, len(self.buffer))
            length -= size
            self.payload_left = length
            yield self.piece(
                size, exchange, first=first, last=last and not length, cut=bool(length)
            )
            first = False

    def rest(self) -> Iterator[Piece]:
        """All that is held, as bytes of no exchange."""
        if self.buffer:
            yield self.piece(len(self.buffer), None)


class StreamCodec(Codec):
    """A codec of two parsers, which share what the subclass keeps of the connection."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        """Exchanges so far."""
        self.asked: deque[Exchange] = deque()
        """What the server has still to answer, in order."""
        self.upstream, self.downstream = Stream(reply=False), Stream(reply=True)
        self._parsers = {"upstream": self.requests(), "downstream": self.replies()}

    def requests(self) -> Parser:
        """Cuts ``self.upstream``; ends where the rest of the stream is not understood."""
        raise NotImplementedError

    def replies(self) -> Parser:
        """Cuts ``self.downstream``; ends likewise."""
        raise NotImplementedError

    def receive(self, stream: str, data: bytes) -> Iterator[Piece]:
        source = self._stream(stream)
        source.buffer += data
        if not (self.opaque or self.upgrading):
            for piece in self._parsers[stream]:
                if piece is None:
                    break
                yield piece
                if self.opaque or self.upgrading:
                    break
        if self.opaque:
            yield from source.rest()

    def eof(self, stream: str) -> Iterator[Piece]:
        yield from self._stream(stream).rest()

    def held(self, stream: str) -> bytes:
        return bytes(self._stream(stream).buffer)

    @property
    def unanswered(self) -> int:
        self.front()  # forgets what is answered
        return len(self.asked)

    def payload_left(self, stream: str) -> int:
        return self._stream(stream).payload_left

    def holds(self, stream: str) -> int:
        return len(self._stream(stream).buffer)

    def _stream(self, stream: str) -> Stream:
        return self.upstream if stream == "upstream" else self.downstream

    def skip(self, exchange: Exchange) -> None:
        forget(self.asked, exchange)

    def begin(self, kind: str, phase: str = COMMAND, *, replies: bool = True) -> Exchange:
        """The next exchange; one without a reply is answered from its beginning."""
        self.count += 1
        return Exchange(self.count, kind, phase, replies=replies, answered=not replies)

    def ask(self, exchange: Exchange) -> None:
        """``exchange`` is answered in its turn, if it is answered."""
        if exchange.replies:
            self.asked.append(exchange)

    def waits(self, exchange: Exchange) -> bool:
        """Whether ``exchange``, the last that was begun, is still to be answered."""
        return bool(self.asked) and self.asked[-1] is exchange and not exchange.answered

    def front(self) -> Exchange | None:
        """The exchange that the server answers next."""
        while self.asked and self.asked[0].answered:
            self.asked.popleft()
        return self.asked[0] if self.asked else None


def forget(waiting: deque[T], one: T) -> None:
    """Remove ``one``, if it is there; it is nearly always the last."""
    if waiting and waiting[-1] is one:
        waiting.pop()
    elif one in waiting:
        waiting.remove(one)
