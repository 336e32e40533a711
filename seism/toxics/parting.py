"""What toxics share that have the server end connections while nobody waits on them."""

from __future__ import annotations

from seism.toxics.base import (
    CLOSED,
    RESET,
    Began,
    Chunk,
    Close,
    Commands,
    Ended,
    Eof,
    Farewell,
    Forward,
    Reset,
    Stage,
    Wake,
)

QUIET = 0.02
"""Seconds without a byte after which a connection whose client waits for nothing is parked."""
PATIENCE = 1.0
"""Seconds after which a connection that is never quiet is ended behind its next reply."""

WAITING = 1.5
"""Seconds after which a connection is ended though its client waits for a reply: a consumer waits
for as long as nothing comes."""


class Parting(Stage):
    """Waits until the connection is parked, for ``WAITING`` seconds at most, says farewell, then
    answers any byte with RST.

    One perturbation from the farewell to the end: its bytes are those of whoever uses the
    stale connection next.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._moved = -1
        self.outlasts = False

    def words(self) -> bytes:
        """What the server says before it closes."""
        return b""

    def started(self, now: float) -> Commands:
        self._since = now
        self._moved = self.session.moved
        yield Wake(now + QUIET)

    def data(self, chunk: Chunk, now: float) -> Commands:
        if self.outlasts:
            yield Ended(RESET)
            yield Reset()
        yield Forward(chunk)

    def eof(self, eof: Eof, now: float) -> Commands:
        if self.outlasts:
            yield Ended(CLOSED)
            yield Close()
        yield Forward(eof)

    def due(self, now: float) -> Commands:
        session, before = self.session, self._moved
        self._moved = session.moved
        quiet = self._moved == before or now >= self._since + PATIENCE
        if (session.parked and quiet) or now >= self._since + WAITING:
            self.outlasts = True
            yield Began()
            yield Farewell(self.words())
        else:
            yield Wake(now + QUIET)
