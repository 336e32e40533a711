"""The connection is reset (RST) as soon as something is said in the toxic's direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import (
    HOUR_MS,
    RESET,
    Began,
    Chunk,
    Commands,
    Ended,
    Eof,
    Reset,
    Rng,
    Stage,
    Toxic,
    Wake,
)


@dataclass(frozen=True, slots=True)
class ResetPeer(Toxic):
    """Wait for data or the end of the stream, then reset both sides after the timeout."""

    type: ClassVar[str] = "reset_peer"

    timeout: int = option(
        0, help="time between the first byte and the reset", unit="ms", minimum=0, maximum=HOUR_MS
    )

    def stage(self, rng: Rng) -> Stage:
        return _Fuse(self)


class _Fuse(Stage):
    """Lit by the first event of its link. What comes after that is dropped."""

    def __init__(self, toxic: ResetPeer) -> None:
        self._toxic = toxic
        self._lit: float | None = None

    def data(self, chunk: Chunk, now: float) -> Commands:
        return self._light(chunk.offset, now)

    def eof(self, eof: Eof, now: float) -> Commands:
        return self._light(eof.offset, now)

    def due(self, now: float) -> Commands:
        yield Ended(RESET)
        yield Reset()

    def updated(self, toxic: ResetPeer, now: float) -> Commands:
        self._toxic = toxic
        return self._wake()

    def removed(self, now: float) -> Commands:
        # Bytes have been dropped: the stream cannot go on, so the reset comes at once.
        return self.due(now) if self._lit is not None else ()

    def _light(self, offset: int, now: float) -> Commands:
        if self._lit is not None:
            return
        self._lit = now
        yield Began(offset)
        if self._toxic.timeout:
            yield from self._wake()
        else:
            yield from self.due(now)

    def _wake(self) -> Commands:
        if self._lit is not None:
            yield Wake(self._lit + self._toxic.timeout / 1000)
