"""A stage that waits for its turn: the n-th thing that clients say on a proxy.

A turn begins with a client's first bytes after an answer, so that it is one exchange of any
protocol in which requests wait for their replies. Turns are counted over all connections
of a proxy since the toxic was added; the connection that has the n-th one is affected from
there on, and no other is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seism.toxics.base import Chunk, Commands, Eof, Forward, Stage


class Gate(Stage):
    """Passes everything on until its turn has come, then is the stage within."""

    def __init__(self, inner: Stage, turn: int, turns: list[int], start: Callable[[], int]) -> None:
        """``turns`` is shared by all connections of a proxy: the offsets at which turns began,
        in order. ``start`` tells where in its stream the client's current turn began.
        """
        self._inner = inner
        self._turn = turn
        self._turns = turns
        self._start = start
        self._seen = -1
        self._open = False

    @property
    def held(self) -> int:  # type: ignore[override]
        return self._inner.held

    @property
    def full(self) -> bool:  # type: ignore[override]
        return self._inner.full

    def skip(self, since: int) -> None:
        """The turn that began at ``since`` had begun before the toxic came."""
        self._seen = since

    def data(self, chunk: Chunk, now: float) -> Commands:
        start = self._start()
        if not self._open and start != self._seen:
            self._seen = start
            self._turns.append(start)
            if len(self._turns) == self._turn:
                self._open = True
                yield from self._inner.started(now)
        yield from self._inner.data(chunk, now) if self._open else (Forward(chunk),)

    def eof(self, eof: Eof, now: float) -> Commands:
        return self._inner.eof(eof, now) if self._open else (Forward(eof),)

    def due(self, now: float) -> Commands:
        return self._inner.due(now)

    def updated(self, toxic: Any, now: float) -> Commands:
        return self._inner.updated(toxic, now)

    def removed(self, now: float) -> Commands:
        return self._inner.removed(now) if self._open else ()
