"""What a stage holds back, counted, so that its link knows when to stop reading."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from seism.toxics.base import (
    REMOVED,
    Began,
    Chunk,
    Commands,
    Ended,
    Eof,
    Forward,
    Stage,
)

OVERHEAD = 200
"""What a held chunk costs beside its bytes, so that a flood of tiny ones is bounded too."""
ENOUGH = 64 * 1024
"""Bytes after which a stage that paces wants no more for now."""

BURST = 64
"""Chunks sent at once at most: other connections, and control, have their turn in between."""

T = TypeVar("T")


class Queue(Stage, Generic[T]):
    """A stage that holds chunks, each with a note, and then the end of the stream.

    One stretch lasts from the first chunk held until the queue is empty. Removal lets
    everything go.
    """

    enough = 0
    """Bytes held at which the stage is ``full``; 0: only the link's own limit counts."""

    def __init__(self) -> None:
        self.queue: deque[tuple[T, Chunk]] = deque()
        self._taken = 0
        self._eof: Eof | None = None

    def hold(self, note: T, chunk: Chunk) -> Commands:
        """Append; the stretch begins with the first."""
        if not self.queue:
            yield Began(chunk.offset)
        self.queue.append((note, chunk))
        self._count(len(chunk.data) + OVERHEAD)

    def take(self) -> Forward:
        """The first chunk, or what is left of it, forwarded."""
        return self.cut(len(self.queue[0][1].data))

    def cut(self, size: int) -> Forward:
        """The next ``size`` bytes, or less, of the first chunk, forwarded."""
        chunk = self.queue[0][1]
        start, end = self._taken, min(self._taken + size, len(chunk.data))
        if end == len(chunk.data):
            self.queue.popleft()
            self._taken = 0
            self._count(start - end - OVERHEAD)
        else:
            # The rest is not copied: thousands of pieces may be cut from one chunk.
            self._taken = end
            self._count(start - end)
        return Forward(Chunk(chunk.data[start:end], chunk.offset + start) if start or
                       end < len(chunk.data) else chunk)  # fmt: skip

    @property
    def head(self) -> int:
        """How many bytes of the first chunk are left."""
        return len(self.queue[0][1].data) - self._taken

    def eof(self, eof: Eof, now: float) -> Commands:
        if self.queue:
            self._eof = eof
        else:
            yield Forward(eof)

    def removed(self, now: float) -> Commands:
        if self.queue:
            yield from self._flush()
            yield from self.emptied(REMOVED)

    def emptied(self, outcome: str) -> Commands:
        """The stretch is over, and the end of the stream goes on if it has come."""
        # Said before the end of the stream is passed on: that may end the connection.
        yield Ended(outcome)
        if self._eof is not None:
            yield Forward(self._eof)

    def _flush(self) -> Commands:
        """Everything at once, in pieces as large as they can be."""
        data, offset = bytearray(), 0
        while self.queue:
            chunk = self.take().item
            assert isinstance(chunk, Chunk)
            if data and (chunk.offset != offset + len(data) or len(data) >= ENOUGH):
                yield Forward(Chunk(bytes(data), offset))
                data.clear()
            if not data:
                offset = chunk.offset
            data += chunk.data
        yield Forward(Chunk(bytes(data), offset))

    def _count(self, size: int) -> None:
        self.held += size
        self.full = 0 < self.enough <= self.held
