"""One reply is late by less than usual timeouts, then the connection is itself again.

Incidents: psycopg_pool 509 and SQLAlchemy 12077, where each request that its own deadline
cancelled took a place of the pool with it; the redis-py releases of March 2023, where the late
reply was read by the next request. A delay of 0.3 s against a deadline of 0.25 s shows them,
3 s trips every timeout at once and shows none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import HOUR_MS, PASSED, Chunk, Commands, Forward, Rng, Stage, Toxic, Wake
from seism.toxics.queue import BURST, Queue


@dataclass(frozen=True, slots=True)
class Late(Toxic):
    """Delay one reply of each connection, and after a pause another one.

    Without a delay in its file, ``seism run`` sizes it to the app's own deadlines.
    """

    type: ClassVar[str] = "late"
    delays: ClassVar[bool] = True

    delay: int = option(300, help="how late", unit="ms", minimum=0, maximum=HOUR_MS)
    jitter: int = option(
        20, help="half the width of the delay's range", unit="ms", minimum=0, maximum=HOUR_MS
    )
    pause: int = option(
        500,
        help="time in which a connection's replies come at once, after a late one",
        unit="ms",
        minimum=0,
        maximum=HOUR_MS,
    )

    def stage(self, rng: Rng) -> Stage:
        return _Late(self, rng)


class _Late(Queue[None]):
    """What follows a late chunk waits behind it."""

    def __init__(self, toxic: Late, rng: Rng) -> None:
        super().__init__()
        self._toxic = toxic
        self._rng = rng
        self._goes = 0.0
        self._next = 0.0
        """No chunk is late before."""

    def data(self, chunk: Chunk, now: float) -> Commands:
        if self.queue:
            yield from self.hold(None, chunk)
        elif now < self._next or not self._toxic.delay:
            yield Forward(chunk)
        else:
            drift = (2 * self._rng.random() - 1) * self._toxic.jitter
            self._goes = now + max(0.0, self._toxic.delay + drift) / 1000
            self._next = self._goes + self._toxic.pause / 1000
            yield from self.hold(None, chunk)
            yield Wake(self._goes)

    def due(self, now: float) -> Commands:
        for _ in range(BURST):
            if self.queue:
                yield self.take()
        if self.queue:
            yield Wake(now)
        else:
            yield from self.emptied(PASSED)

    def updated(self, toxic: Late, now: float) -> Commands:
        self._toxic = toxic
        return ()
