"""Each byte arrives later than it was sent; order and throughput stay as they are.

The end of the stream waits for the bytes before it and is not delayed itself, so that
closing an idle connection is no perturbation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import (
    HOUR_MS,
    PASSED,
    Chunk,
    Commands,
    Forward,
    Rng,
    Stage,
    Toxic,
    Wake,
)
from seism.toxics.queue import BURST, Queue

_SHAPE = 3.0
_PARETO_MEAN = _SHAPE / (_SHAPE - 1)
_PARETO_DEVIATION = math.sqrt(_SHAPE / ((_SHAPE - 1) ** 2 * (_SHAPE - 2)))
_LOGNORMAL_MEAN = math.exp(0.5)
_LOGNORMAL_DEVIATION = math.sqrt((math.e - 1) * math.e)

# Each draws how far a delay is from the mean, in units of the jitter; the mean is 0.
_DRAWS: dict[str, Callable[[Rng], float]] = {
    "uniform": lambda rng: 2 * rng.random() - 1,
    "normal": lambda rng: rng.gauss(0, 1),
    "pareto": lambda rng: (rng.paretovariate(_SHAPE) - _PARETO_MEAN) / _PARETO_DEVIATION,
    "lognormal": lambda rng: (rng.lognormvariate(0, 1) - _LOGNORMAL_MEAN) / _LOGNORMAL_DEVIATION,
}


@dataclass(frozen=True, slots=True)
class Latency(Toxic):
    """Delay since receipt, drawn for each chunk; its mean is the latency, it is never negative."""

    type: ClassVar[str] = "latency"
    delays: ClassVar[bool] = True

    latency: int = option(0, help="mean delay", unit="ms", minimum=0, maximum=HOUR_MS)
    jitter: int = option(
        0, help="uniform: half the width of the delay's range; others: its standard deviation",
        unit="ms", minimum=0, maximum=HOUR_MS,
    )  # fmt: skip
    distribution: str = option(
        "uniform", help="of the delay; pareto and lognormal have rare, very long ones",
        choices=tuple(_DRAWS), addition=True,
    )  # fmt: skip

    def stage(self, rng: Rng) -> Stage:
        return _Delay(self, rng)


class _Delay(Queue[tuple[float, float]]):
    """Notes when a chunk came, and its draw: the delay follows from these, so that a change
    of the toxic reaches what is held already.
    """

    def __init__(self, toxic: Latency, rng: Rng) -> None:
        super().__init__()
        self._toxic = toxic
        self._rng = rng

    def data(self, chunk: Chunk, now: float) -> Commands:
        draw = _DRAWS[self._toxic.distribution](self._rng)
        if self.queue:
            yield from self.hold((now, draw), chunk)
        elif self._delay(draw) > 0:
            yield from self.hold((now, draw), chunk)
            yield self._wake()
        else:
            yield Forward(chunk)

    def due(self, now: float) -> Commands:
        for _ in range(BURST):
            if not self.queue or self._head_due() > now:
                break
            yield self.take()
        if self.queue:
            # From now on: a time in the past would give others no turn.
            yield Wake(max(now, self._head_due()))
        else:
            yield from self.emptied(PASSED)

    def updated(self, toxic: Latency, now: float) -> Commands:
        self._toxic = toxic
        if self.queue:
            yield self._wake()

    def _delay(self, draw: float) -> float:
        delay = self._toxic.latency + draw * self._toxic.jitter
        return min(max(0.0, delay), HOUR_MS) / 1000

    def _head_due(self) -> float:
        came, draw = self.queue[0][0]
        return came + self._delay(draw)

    def _wake(self) -> Wake:
        return Wake(self._head_due())
