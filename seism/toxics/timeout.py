"""Nothing gets through, and after a while the connection is closed.

The time runs from when the toxic and the connection have met, whatever is sent, or, if
``idle``, from the last chunk. The end of the stream passes, so that a peer that gives up
is seen to give up. If ``flowing``, data passes until the time is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import (
    CLOSED,
    HOUR_MS,
    LOST,
    Began,
    Chunk,
    Close,
    Commands,
    Ended,
    Eof,
    Forward,
    Rng,
    Stage,
    Toxic,
    Wake,
)


@dataclass(frozen=True, slots=True)
class Timeout(Toxic):
    """Drop all data, close after the timeout. Removing it closes the connection too.

    If data flows, removing it leaves the connection as it is.
    """

    type: ClassVar[str] = "timeout"

    timeout: int = option(
        0, help="time until the connection is closed, 0: never", unit="ms", minimum=0,
        maximum=HOUR_MS,
    )  # fmt: skip
    idle: bool = option(False, help="true: each chunk starts the time anew", addition=True)
    flowing: bool = option(
        False, help="true: data passes until then, instead of being dropped", addition=True
    )

    def stage(self, rng: Rng) -> Stage:
        return _Silence(self)


class _Silence(Stage):
    """A stretch lasts from the first byte dropped until the end of stream or connection."""

    def __init__(self, toxic: Timeout) -> None:
        self._toxic = toxic
        self._met = 0.0
        self._dropping = False
        self._dropped = False
        """Bytes are missing from the stream."""

    def started(self, now: float) -> Commands:
        self._met = now
        return self._wake()

    def data(self, chunk: Chunk, now: float) -> Commands:
        if self._toxic.idle:
            self._met = now
            yield from self._wake()
        if self._toxic.flowing and not self._dropped:
            yield Forward(chunk)
        elif not self._dropping:
            self._dropping = self._dropped = True
            yield Began(chunk.offset)

    def eof(self, eof: Eof, now: float) -> Commands:
        if self._dropping:
            self._dropping = False
            yield Ended(LOST)
        yield Forward(eof)

    def due(self, now: float) -> Commands:
        # An update may have switched the timeout off after the timer was set.
        return self._close() if self._toxic.timeout else ()

    def updated(self, toxic: Timeout, now: float) -> Commands:
        self._toxic = toxic
        return self._wake()

    def removed(self, now: float) -> Commands:
        # Bytes may be missing from the stream: it cannot go on as if nothing had been.
        return () if self._toxic.flowing and not self._dropped else self._close()

    def _wake(self) -> Commands:
        if self._toxic.timeout:
            yield Wake(self._met + self._toxic.timeout / 1000)

    def _close(self) -> Commands:
        if not self._dropping:
            yield Began()
        yield Ended(CLOSED)
        yield Close()
