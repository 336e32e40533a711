"""Bytes flow no faster than a rate, evenly, as over a slow line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import PASSED, Chunk, Commands, Rng, Stage, Toxic, Wake
from seism.toxics.queue import BURST, ENOUGH, Queue

TICK = 0.01
"""Seconds of the line that one piece takes: what makes the flow even."""
_SMALLEST = 64
_MOST = 1024 * 1024


class Line:
    """The line that pieces take one after the other, of one connection or of many."""

    __slots__ = ("free", "rate")

    def __init__(self) -> None:
        self.rate = 0
        self.free = 0.0
        """When the last piece that has a place on the line will be through."""


@dataclass(frozen=True, slots=True)
class Bandwidth(Toxic):
    """Let no more than the rate through; nothing is lost, a sender that is too fast has to wait."""

    type: ClassVar[str] = "bandwidth"

    rate: int = option(
        0, help="the limit, 1 KB being 1000 B; 0: nothing gets through", unit="KB/s",
        minimum=0, maximum=1_000_000_000,
    )  # fmt: skip
    shared: bool = option(
        False,
        help="true: all connections of the proxy share the rate; false: each has its own",
        addition=True,
    )

    def stage(self, rng: Rng) -> Stage:
        return _Pacer(self)

    def common(self) -> Line:
        return Line()


class _Pacer(Queue[None]):
    """The piece at the head of the queue has a place on the line until ``_through``.

    Stages that share a line have one piece each on it at a time, so it is shared fairly.
    """

    common: Line

    def __init__(self, toxic: Bandwidth) -> None:
        super().__init__()
        self._toxic = toxic
        self._own = Line()
        self._piece = 0
        self._through = 0.0
        self._size()

    def data(self, chunk: Chunk, now: float) -> Commands:
        idle = not self.queue
        yield from self.hold(None, chunk)
        if idle:
            yield from self._start(now)

    def due(self, now: float) -> Commands:
        for _ in range(BURST):
            if not self._piece or self._through > now:
                break
            yield self.cut(self._piece)
            if not self.queue:
                self._piece = 0
                yield from self.emptied(PASSED)
                return
            self._place()
        if self._piece:
            yield Wake(max(now, self._through))

    def updated(self, toxic: Bandwidth, now: float) -> Commands:
        self._toxic = toxic
        self._size()
        if self.queue:
            yield from self._start(now)

    def _size(self) -> None:
        self._most = max(_SMALLEST, min(_MOST, int(self._toxic.rate * 1000 * TICK)))
        self.enough = max(ENOUGH, 2 * self._most)

    def _start(self, now: float) -> Commands:
        self._through = now
        self._place()
        if self._piece:
            yield Wake(self._through)

    def _place(self) -> None:
        """Take a place for the next piece. A late call costs no rate: the line goes on."""
        rate = self._toxic.rate
        line = self.common if self._toxic.shared else self._own
        if line.rate != rate:
            line.rate = rate
            line.free = self._through
        if not rate:
            self._piece = 0
            return
        self._piece = min(self.head, self._most)
        self._through = max(line.free, self._through) + self._piece / (rate * 1000)
        line.free = self._through
