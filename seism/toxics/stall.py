"""The stream stands still now and then, as on a line that loses packets.

A chunk that is lost is sent again after a retransmission timeout, which doubles with each
further loss (RFC 6298, 5.5); what comes after it waits, as TCP keeps the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import HOUR_MS, PASSED, Chunk, Commands, Forward, Rng, Stage, Toxic, Wake
from seism.toxics.queue import BURST, Queue


@dataclass(frozen=True, slots=True)
class Stall(Toxic):
    """Pause before a chunk by chance, once or several times, each twice as long as the last."""

    type: ClassVar[str] = "stall"

    chance: float = option(
        0.01, help="that a chunk is lost, each time that it is sent", minimum=0, maximum=1
    )
    timeout: int = option(
        200, help="the first pause: the retransmission timeout", unit="ms", minimum=0,
        maximum=HOUR_MS,
    )  # fmt: skip
    losses: int = option(
        6, help="a chunk is lost this often at most, in a row", minimum=1, maximum=15
    )

    def stage(self, rng: Rng) -> Stage:
        return _Line(self, rng)


class _Line(Queue[int]):
    """Notes how often each chunk is lost; its pause starts when the one before it has gone."""

    def __init__(self, toxic: Stall, rng: Rng) -> None:
        super().__init__()
        self._toxic = toxic
        self._rng = rng
        self._since = 0.0

    def data(self, chunk: Chunk, now: float) -> Commands:
        losses = self._draw()
        if self.queue:
            yield from self.hold(losses, chunk)
        elif losses and self._toxic.timeout:
            yield from self.hold(losses, chunk)
            self._since = now
            yield self._wake()
        else:
            yield Forward(chunk)

    def due(self, now: float) -> Commands:
        for _ in range(BURST):
            if not self.queue or self._goes() > now:
                break
            self._since = self._goes()
            yield self.take()
        if self.queue:
            yield Wake(max(now, self._goes()))
        else:
            yield from self.emptied(PASSED)

    def updated(self, toxic: Stall, now: float) -> Commands:
        self._toxic = toxic
        if self.queue:
            yield self._wake()

    def _draw(self) -> int:
        losses = 0
        while losses < self._toxic.losses and self._rng.random() < self._toxic.chance:
            losses += 1
        return losses

    def _goes(self) -> float:
        pause = self._toxic.timeout * ((1 << self.queue[0][0]) - 1)
        return self._since + min(pause, HOUR_MS) / 1000

    def _wake(self) -> Wake:
        return Wake(self._goes())
