"""New connections are accepted and closed; the backend is not dialled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import (
    CLOSED,
    HOUR_MS,
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
class AcceptClose(Toxic):
    """Close each new connection (FIN) after the delay, whatever the client says."""

    type: ClassVar[str] = "accept_close"
    connecting: ClassVar[bool] = True

    delay: int = option(
        0, help="time between the accept and the close", unit="ms", minimum=0, maximum=HOUR_MS
    )

    def stage(self, rng: Rng) -> Stage:
        return _Door(self)


class _Door(Stage):
    """Closes early, too: when the client has ended its stream, or the toxic is removed."""

    holds_dial = True

    def __init__(self, toxic: AcceptClose) -> None:
        self._toxic = toxic
        self._came = 0.0

    def started(self, now: float) -> Commands:
        self._came = now
        yield Began()
        if self._toxic.delay:
            yield self._wake()
        else:
            yield from self._close()

    def data(self, chunk: Chunk, now: float) -> Commands:
        return ()

    def eof(self, eof: Eof, now: float) -> Commands:
        return self._close()

    def due(self, now: float) -> Commands:
        return self._close()

    def updated(self, toxic: AcceptClose, now: float) -> Commands:
        self._toxic = toxic
        yield self._wake()

    def removed(self, now: float) -> Commands:
        return self._close()

    def _wake(self) -> Wake:
        return Wake(self._came + self._toxic.delay / 1000)

    def _close(self) -> Commands:
        yield Ended(CLOSED)
        yield Close()
