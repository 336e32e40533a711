"""Retry storms: requests that multiply the load of a backend which is failing them.

How often a request tried is its connections and failed connects, or its sends over one
connection, whichever is more, as a multiple of what requests of its route do when nothing
perturbs them. A login is part of that: the requests that opened the pools made one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from seism.rules import Rules
from seism.timeline import Timeline, name
from seism.verdict import AMBER, GREEN, RED
from seism_middleware.contract import RequestEnded

CALM = ("warmup", "steady", "control")
"""Phases without a perturbation."""


@dataclass(slots=True)
class _Usual:
    """The most that a calm request does with one backend."""

    sends: int = 1
    over_one: int = 1
    """Sends over one connection."""


class Storms:
    """What is usual, and who did much more."""

    def __init__(self, timeline: Timeline, rules: Rules) -> None:
        self._rules = rules
        self._usual: dict[tuple[str, str], _Usual] = {}
        for segment in timeline.segments:
            if segment.phase.phase in CALM:
                for request in segment.requests:
                    self._learn(request)

    def _learn(self, request: RequestEnded) -> None:
        for backend, counts in _sends(request):
            usual = self._usual.setdefault((name(request), backend), _Usual())
            usual.sends = max(usual.sends, sum(counts))
            usual.over_one = max(usual.over_one, *counts)

    def opinion(self, request: RequestEnded, backend: str) -> tuple[str, str]:
        """(colour, reason) of a request that was hit on its way to ``backend``."""
        again = self._tries(request, backend) - 1
        if again <= self._rules.retries:
            return GREEN, ""
        colour = RED if again > self._rules.retry_storm else AMBER
        return colour, f"retry storm: it tried {backend} {again} times more than it usually does"

    def _tries(self, request: RequestEnded, backend: str) -> int:
        usual = self._usual.get((name(request), backend), _Usual())
        counts = dict(_sends(request)).get(backend, [])
        refused = sum(each.times for each in request.refused if each.backend == backend)
        connections = (len(counts) + refused) // usual.sends
        return max(connections, max(counts, default=0) // usual.over_one)


def _sends(request: RequestEnded) -> Iterator[tuple[str, list[int]]]:
    """Each backend, and the sends over each connection to it."""
    for backend in Counter(used.backend for used in request.exchanges):
        yield backend, [used.sends for used in request.exchanges if used.backend == backend]
