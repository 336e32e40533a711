"""What toxics that close a connection after so much share: the count."""

from __future__ import annotations

from seism.toxics.base import (
    CLOSED,
    RESET,
    Began,
    Chunk,
    Commands,
    Ended,
    Eof,
    Forward,
    Reset,
    Stage,
)

LARGEST = 1 << 50
"""The greatest count of bytes."""


class Limit(Stage):
    """Counts what passes; at the limit the receiver gets what is on its way, and then the end.

    The count goes on while the limits change. A limit that is None does not count.
    """

    def __init__(
        self, *, bytes: int | None = None, chunks: int | None = None, reset: bool = False
    ) -> None:
        self._bytes = bytes
        self._chunks = chunks
        self._reset = reset
        self._passed = 0
        self._seen = 0
        self._offset = 0
        self._over = False

    def data(self, chunk: Chunk, now: float) -> Commands:
        if self._over:
            return
        room = len(chunk.data) if self._bytes is None else max(0, self._bytes - self._passed)
        if self._chunks is not None and self._seen >= self._chunks:
            room = 0
        passed = chunk.data[:room]
        self._passed += len(passed)
        self._seen += 1
        self._offset = chunk.offset + len(passed)
        if passed:
            yield Forward(chunk if len(passed) == len(chunk.data) else Chunk(passed, chunk.offset))
        if self._reached():
            yield from self._end()

    def eof(self, eof: Eof, now: float) -> Commands:
        if not self._over:
            yield Forward(eof)

    def changed(
        self, *, bytes: int | None = None, chunks: int | None = None, reset: bool = False
    ) -> Commands:
        """Other limits; one that has been reached by now ends the connection at once."""
        self._bytes, self._chunks, self._reset = bytes, chunks, reset
        if not self._over and self._seen and self._reached():
            yield from self._end()

    def _reached(self) -> bool:
        return (self._bytes is not None and self._passed >= self._bytes) or (
            self._chunks is not None and self._seen >= self._chunks
        )

    def _end(self) -> Commands:
        self._over = True
        yield Began(self._offset)
        if self._reset:
            yield Ended(RESET)
            yield Reset()
        else:
            yield Ended(CLOSED)
            yield Forward(Eof(self._offset, closes=True))
