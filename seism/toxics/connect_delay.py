"""The backend is dialled later; what the client says meanwhile waits."""

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
    Rng,
    Stage,
    Toxic,
    Wake,
)


@dataclass(frozen=True, slots=True)
class ConnectDelay(Toxic):
    """Accept each new connection at once, and connect it to the backend after the delay."""

    type: ClassVar[str] = "connect_delay"
    connecting: ClassVar[bool] = True

    delay: int = option(
        0, help="time between the accept and the dial", unit="ms", minimum=0, maximum=HOUR_MS
    )

    def stage(self, rng: Rng) -> Stage:
        return _Wait(self)


class _Wait(Stage):
    def __init__(self, toxic: ConnectDelay) -> None:
        self._toxic = toxic
        self._came = 0.0

    def started(self, now: float) -> Commands:
        if self._toxic.delay:
            self._came = now
            self.holds_dial = True
            yield Began()
            yield self._wake()

    def due(self, now: float) -> Commands:
        return self._let_go(PASSED)

    def updated(self, toxic: ConnectDelay, now: float) -> Commands:
        self._toxic = toxic
        if self.holds_dial:
            yield self._wake()

    def removed(self, now: float) -> Commands:
        return self._let_go(REMOVED)

    def _wake(self) -> Wake:
        return Wake(self._came + self._toxic.delay / 1000)

    def _let_go(self, outcome: str) -> Commands:
        if self.holds_dial:
            self.holds_dial = False
            yield Ended(outcome)
