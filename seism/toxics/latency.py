"""Each byte arrives later than it was sent; order and throughput stay as they are.

The end of the stream waits for the bytes before it and is not delayed itself, so that
closing an idle connection is no perturbation.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import (
    HOUR_MS,
    PASSED,
    REMOVED,
    Began,
    Chunk,
    Commands,
    Ended,
    Eof,
    Forward,
    Rng,
    Stage,
    Toxic,
    Wake,
)

# What the queue costs per chunk beside its bytes, so that a flood of tiny chunks is bounded too.
_OVERHEAD = 200


@dataclass(frozen=True, slots=True)
class Latency(Toxic):
    """Delay since receipt, drawn for each chunk from [latency - jitter, latency + jitter)."""

    type: ClassVar[str] = "latency"

    latency: int = option(0, help="mean delay", unit="ms", minimum=0, maximum=HOUR_MS)
    jitter: int = option(
        0, help="half the width of the delay's range", unit="ms", minimum=0, maximum=HOUR_MS
    )

    def stage(self, rng: Rng) -> Stage:
        return _Delay(self, rng)


class _Delay(Stage):
    """A queue. A stretch lasts from the first byte held until the queue is empty again."""

    def __init__(self, toxic: Latency, rng: Rng) -> None:
        self._toxic = toxic
        self._rng = rng
        # (when it came, its draw of [-1, 1), chunk): the delay follows from the draw, so
        # that a change of the toxic reaches what is held already.
        self._queue: deque[tuple[float, float, Chunk]] = deque()
        self._eof: Eof | None = None

    def data(self, chunk: Chunk, now: float) -> Commands:
        draw = 2 * self._rng.random() - 1
        if self._queue:
            self._hold(now, draw, chunk)
        elif self._delay(draw) > 0:
            self._hold(now, draw, chunk)
            yield Began(chunk.offset)
            yield self._wake()
        else:
            yield Forward(chunk)

    def eof(self, eof: Eof, now: float) -> Commands:
        if self._queue:
            self._eof = eof
        else:
            yield Forward(eof)

    def due(self, now: float) -> Commands:
        while self._queue and self._head_due() <= now:
            yield Forward(self._take())
        if self._queue:
            yield self._wake()
        else:
            yield from self._emptied(PASSED)

    def updated(self, toxic: Latency, now: float) -> Commands:
        self._toxic = toxic
        if self._queue:
            yield self._wake()

    def removed(self, now: float) -> Commands:
        if self._queue:
            while self._queue:
                yield Forward(self._take())
            yield from self._emptied(REMOVED)

    def _emptied(self, outcome: str) -> Commands:
        # Said before the end of the stream is passed on: that may end the connection.
        yield Ended(outcome)
        if self._eof is not None:
            yield Forward(self._eof)

    def _delay(self, draw: float) -> float:
        return max(0.0, self._toxic.latency + draw * self._toxic.jitter) / 1000

    def _head_due(self) -> float:
        came, draw, _ = self._queue[0]
        return came + self._delay(draw)

    def _wake(self) -> Wake:
        return Wake(self._head_due())

    def _hold(self, now: float, draw: float, chunk: Chunk) -> None:
        self._queue.append((now, draw, chunk))
        self.held += len(chunk.data) + _OVERHEAD

    def _take(self) -> Chunk:
        chunk = self._queue.popleft()[2]
        self.held -= len(chunk.data) + _OVERHEAD
        return chunk
