"""Chunks arrive cut into small pieces, with a pause after each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.errors import ConfigurationError
from seism.options import option
from seism.toxics.base import (
    HOUR_MS,
    PASSED,
    Chunk,
    Commands,
    Forward,
    Rng,
    Stage,
    Toxic,
    Wake,
)
from seism.toxics.queue import BURST, ENOUGH, Queue

_LARGEST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Slicer(Toxic):
    """Cut the stream into pieces of a size drawn for each, and pause after each piece."""

    type: ClassVar[str] = "slicer"

    average_size: int = option(help="average size of a piece", unit="B", minimum=1,
                               maximum=_LARGEST)  # fmt: skip
    size_variation: int = option(
        0, help="how far a piece's size may be from the average, at most average_size",
        unit="B", minimum=0, maximum=_LARGEST,
    )  # fmt: skip
    delay: int = option(
        0, help="pause after each piece", unit="µs", minimum=0, maximum=HOUR_MS * 1000
    )

    def __post_init__(self) -> None:
        if self.size_variation > self.average_size:
            raise ConfigurationError(
                f"size_variation: {self.size_variation} is not allowed,"
                f" it must be 0 to average_size ({self.average_size}) B"
            )

    def stage(self, rng: Rng) -> Stage:
        return _Cutter(self, rng)


class _Cutter(Queue[None]):
    enough = ENOUGH

    def __init__(self, toxic: Slicer, rng: Rng) -> None:
        super().__init__()
        self._toxic = toxic
        self._rng = rng
        self._next = 0.0
        """When the pause after the last piece is over."""
        self._sent = 0.0

    def data(self, chunk: Chunk, now: float) -> Commands:
        if self.queue:
            yield from self.hold(None, chunk)
        elif self._next > now:
            yield from self.hold(None, chunk)
            yield Wake(self._next)
        else:
            size = self._draw()
            if len(chunk.data) <= size:
                self._pause(now)
                yield Forward(chunk)
            else:
                yield from self.hold(None, chunk)
                yield from self._send(size, now)

    def due(self, now: float) -> Commands:
        if self.queue:
            yield from self._send(self._draw(), now)

    def updated(self, toxic: Slicer, now: float) -> Commands:
        self._toxic = toxic
        self._next = self._sent + toxic.delay / 1e6
        if self.queue:
            yield Wake(self._next)

    def _send(self, size: int, now: float) -> Commands:
        """A piece of ``size``, and all others that may go without a pause."""
        for _ in range(BURST):
            yield self.cut(size)
            self._pause(now)
            if not self.queue:
                yield from self.emptied(PASSED)
                return
            if self._next > now:
                break
            size = self._draw()
        yield Wake(self._next)

    def _pause(self, now: float) -> None:
        self._sent = now
        self._next = now + self._toxic.delay / 1e6

    def _draw(self) -> int:
        average, variation = self._toxic.average_size, self._toxic.size_variation
        if not variation:
            return average
        return max(1, self._rng.randint(average - variation, average + variation))
