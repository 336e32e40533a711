"""Some chunks arrive changed, not at all, twice, or out of order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import (
    CHANGED,
    HOUR_MS,
    LOST,
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


@dataclass(frozen=True, slots=True)
class Corrupt(Toxic):
    """Flip bits of a chunk, drop it, send it twice, or send it after the next one, by chance."""

    type: ClassVar[str] = "corrupt"

    kind: str = option(
        "flip", help="what is done", choices=("flip", "drop", "duplicate", "reorder")
    )
    chance: float = option(0.1, help="that a chunk is affected", minimum=0, maximum=1)
    bits: int = option(1, help="flip: how many bits of the chunk", minimum=1, maximum=1024)
    wait: int = option(
        100, help="reorder: how long to wait for the next chunk", unit="ms", minimum=0,
        maximum=HOUR_MS,
    )  # fmt: skip

    def stage(self, rng: Rng) -> Stage:
        return _Noise(self, rng)


class _Noise(Stage):
    """Holds one chunk at most: the one that waits to be overtaken."""

    def __init__(self, toxic: Corrupt, rng: Rng) -> None:
        self._toxic = toxic
        self._rng = rng
        self._late: Chunk | None = None
        self._came = 0.0
        self._kinds: dict[str, Callable[[Chunk, float], Commands]] = {
            "flip": self._flip,
            "drop": self._drop,
            "duplicate": self._duplicate,
            "reorder": self._reorder,
        }

    def data(self, chunk: Chunk, now: float) -> Commands:
        affected = self._rng.random() < self._toxic.chance
        if self._late is not None:
            yield Forward(chunk)
            yield from self._release(CHANGED)
        elif affected:
            yield from self._kinds[self._toxic.kind](chunk, now)
        else:
            yield Forward(chunk)

    def eof(self, eof: Eof, now: float) -> Commands:
        yield from self._release(PASSED)
        yield Forward(eof)

    def due(self, now: float) -> Commands:
        return self._release(PASSED)

    def updated(self, toxic: Corrupt, now: float) -> Commands:
        self._toxic = toxic
        if self._late is not None:
            yield self._wake()

    def removed(self, now: float) -> Commands:
        return self._release(REMOVED)

    def _flip(self, chunk: Chunk, now: float) -> Commands:
        data = bytearray(chunk.data)
        for _ in range(self._toxic.bits):
            bit = int(self._rng.random() * len(data) * 8)
            data[bit // 8] ^= 1 << bit % 8
        yield Began(chunk.offset)
        yield Forward(Chunk(bytes(data), chunk.offset))
        # Two flips of one bit are none.
        yield Ended(PASSED if data == chunk.data else CHANGED)

    def _drop(self, chunk: Chunk, now: float) -> Commands:
        yield Began(chunk.offset)
        yield Ended(LOST)

    def _duplicate(self, chunk: Chunk, now: float) -> Commands:
        yield Began(chunk.offset)
        yield Forward(chunk)
        yield Forward(chunk)
        yield Ended(CHANGED)

    def _reorder(self, chunk: Chunk, now: float) -> Commands:
        self._late, self._came = chunk, now
        self.held = len(chunk.data)
        yield Began(chunk.offset)
        yield self._wake()

    def _wake(self) -> Wake:
        return Wake(self._came + self._toxic.wait / 1000)

    def _release(self, outcome: str) -> Commands:
        late, self._late = self._late, None
        if late is not None:
            self.held = 0
            yield Forward(late)
            yield Ended(outcome)
