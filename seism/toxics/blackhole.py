"""New connections are accepted and never answered; the backend is not dialled."""

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
    Rng,
    Stage,
    Toxic,
    Wake,
)


@dataclass(frozen=True, slots=True)
class Blackhole(Toxic):
    """Swallow what each new connection says. Removing it closes those that it has swallowed."""

    type: ClassVar[str] = "blackhole"
    connecting: ClassVar[bool] = True

    timeout: int = option(
        0, help="time until the connection is closed, 0: never", unit="ms", minimum=0,
        maximum=HOUR_MS,
    )  # fmt: skip

    def stage(self, rng: Rng) -> Stage:
        return _Hole(self)


class _Hole(Stage):
    """One stretch, from the accept to the end. A client that ends its stream has given up."""

    holds_dial = True

    def __init__(self, toxic: Blackhole) -> None:
        self._toxic = toxic
        self._came = 0.0

    def started(self, now: float) -> Commands:
        self._came = now
        yield Began()
        yield from self._wake()

    def data(self, chunk: Chunk, now: float) -> Commands:
        return ()

    def eof(self, eof: Eof, now: float) -> Commands:
        return self._close(LOST)

    def due(self, now: float) -> Commands:
        # An update may have switched the timeout off after the timer was set.
        return self._close(CLOSED) if self._toxic.timeout else ()

    def updated(self, toxic: Blackhole, now: float) -> Commands:
        self._toxic = toxic
        return self._wake()

    def removed(self, now: float) -> Commands:
        return self._close(CLOSED)

    def _wake(self) -> Commands:
        if self._toxic.timeout:
            yield Wake(self._came + self._toxic.timeout / 1000)

    def _close(self, outcome: str) -> Commands:
        yield Ended(outcome)
        yield Close()
