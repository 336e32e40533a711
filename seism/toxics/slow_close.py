"""The end of the stream arrives later than it was sent; bytes do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import (
    HOUR_MS,
    PASSED,
    REMOVED,
    Began,
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
class SlowClose(Toxic):
    """Delay the close of the connection in this direction, and only that."""

    type: ClassVar[str] = "slow_close"

    delay: int = option(0, help="delay of the close", unit="ms", minimum=0, maximum=HOUR_MS)

    def stage(self, rng: Rng) -> Stage:
        return _Hold(self)


class _Hold(Stage):
    """A stretch lasts from the end that was sent to the end that arrives."""

    def __init__(self, toxic: SlowClose) -> None:
        self._toxic = toxic
        self._eof: Eof | None = None
        self._came = 0.0

    def eof(self, eof: Eof, now: float) -> Commands:
        if not self._toxic.delay:
            yield Forward(eof)
            return
        self._eof, self._came = eof, now
        yield Began(eof.offset)
        yield self._wake()

    def due(self, now: float) -> Commands:
        return self._pass(PASSED)

    def updated(self, toxic: SlowClose, now: float) -> Commands:
        self._toxic = toxic
        if self._eof is not None:
            yield self._wake()

    def removed(self, now: float) -> Commands:
        return self._pass(REMOVED)

    def _wake(self) -> Wake:
        return Wake(self._came + self._toxic.delay / 1000)

    def _pass(self, outcome: str) -> Commands:
        eof, self._eof = self._eof, None
        if eof is not None:
            yield Ended(outcome)
            yield Forward(eof)
