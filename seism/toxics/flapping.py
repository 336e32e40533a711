"""The backend goes away and comes back, again and again.

Incidents: a container in a crash loop, two hosts with one address, a failover that goes to and
fro. Reconnect loops without a back-off meet it with a storm, and a circuit breaker that one
good answer closes stays of no use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from seism.options import option
from seism.toxics.base import HOUR_MS, RESET, Began, Commands, Ended, Reset, Rng, Stage, Toxic, Wake


@dataclass(frozen=True, slots=True)
class Flapping(Toxic):
    """Reset all connections and refuse new ones (RST) for a while, then let them be for a while.

    Beginning with the toxic, for all connections of the proxy at the same times.
    """

    type: ClassVar[str] = "flapping"

    away: int = option(300, help="how long it is away", unit="ms", minimum=1, maximum=HOUR_MS)
    back: int = option(
        300, help="how long it is back, each time", unit="ms", minimum=1, maximum=HOUR_MS
    )

    def stage(self, rng: Rng) -> Stage:
        return _Flapping(self)

    def common(self) -> Any:
        return _Clock()


class _Clock:
    """When the toxic came, for all connections of one proxy."""

    since: float | None = None


class _Flapping(Stage):
    def __init__(self, toxic: Flapping) -> None:
        self._toxic = toxic

    def started(self, now: float) -> Commands:
        if self.common.since is None:
            self.common.since = now
        return self._look(now)

    def due(self, now: float) -> Commands:
        return self._look(now)

    def updated(self, toxic: Flapping, now: float) -> Commands:
        self._toxic = toxic
        return self._look(now)

    def _look(self, now: float) -> Commands:
        away, period = self._toxic.away / 1000, (self._toxic.away + self._toxic.back) / 1000
        # Rounded, so that the time of a wake-up is not a moment too early.
        at = round((now - self.common.since) % period, 6) % period
        if at < away:
            yield Began()
            yield Ended(RESET)
            yield Reset()
        else:
            yield Wake(now + period - at)
