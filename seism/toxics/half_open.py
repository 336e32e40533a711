"""The peer has vanished without a FIN: its connections stay open, and are dead.

Incidents: procrastinate 1334, and consumers on LISTEN or pub/sub in general, which are silent for
hours; clients without a read timeout, which never come back. A firewall that has lost its
state, a failover of a virtual address and a machine that loses power all look like this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from seism.options import option
from seism.toxics.base import (
    HOUR_MS,
    LOST,
    RESET,
    Began,
    Chunk,
    Close,
    Commands,
    Ended,
    Eof,
    Mute,
    Reset,
    Rng,
    Stage,
    Toxic,
    Wake,
)


@dataclass(frozen=True, slots=True)
class HalfOpen(Toxic):
    """Swallow everything on the connections that exist; new ones work.

    Removing it leaves them dead until their clients give them up; the end of the lease or of the
    run, and a reset of the sidecar, reset what is left of them.
    """

    type: ClassVar[str] = "half_open"
    established: ClassVar[bool] = True

    user_timeout: int = option(
        0,
        help="time from the first byte swallowed to a reset, as the client's own kernel makes one "
        "where TCP_USER_TIMEOUT is set; 0: never",
        unit="ms",
        minimum=0,
        maximum=HOUR_MS,
    )

    def stage(self, rng: Rng) -> Stage:
        return _Vanished(self)


class _Vanished(Stage):
    """One stretch, from the first byte that is swallowed, or the reply that never comes.

    The proxy's kernel still acknowledges what it receives, so the client's own TCP_USER_TIMEOUT
    and keep-alive have nothing to notice: ``user_timeout`` stands in for the first.
    """

    outlasts = True

    def __init__(self, toxic: HalfOpen) -> None:
        self._toxic = toxic
        self._began = False

    def started(self, now: float) -> Commands:
        if not self.session.parked:
            yield from self._begin(None, now)
        yield Mute()

    def data(self, chunk: Chunk, now: float) -> Commands:
        if not self._began:
            yield from self._begin(chunk.offset, now)

    def eof(self, eof: Eof, now: float) -> Commands:
        if self._began:
            yield Ended(LOST)
        yield Close()

    def due(self, now: float) -> Commands:
        yield Ended(RESET)
        yield Reset()

    def updated(self, toxic: Any, now: float) -> Commands:
        self._toxic = toxic
        return ()

    def _begin(self, offset: int | None, now: float) -> Commands:
        self._began = True
        yield Began(offset)
        if self._toxic.user_timeout:
            yield Wake(now + self._toxic.user_timeout / 1000)
