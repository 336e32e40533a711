"""Retry storms: requests that multiply the load of a backend which is failing them.

How often a request tried is its connections and failed connects, or its sends over one
connection, whichever is more, as a multiple of what requests of its route do before the first
perturbation; over one connection, of what any request does: the login of a connection that
took the place of a broken one is no try, and may have been made by another route before.
"""

from __future__ import annotations

from seism.verdict.result import AMBER, FINE, RED, STORM, Verdict
from seism.verdict.rules import Rules
from seism.verdict.timeline import Timeline, route_of
from seism_middleware.contract import RequestEnded


class Storms:
    """What is usual, and who did much more."""

    def __init__(self, timeline: Timeline, rules: Rules) -> None:
        self._rules = rules
        self._usual: dict[tuple[str, str], int] = {}
        """(Route, backend) -> the most sends of a request before the first perturbation."""
        self._over_one: dict[str, int] = {}
        """Backend -> the most sends over one connection: what a login takes, whoever made it."""
        for segment in timeline.untouched():
            for request in segment.requests:
                self._learn(request)

    def _learn(self, request: RequestEnded) -> None:
        for backend, counts in _sends(request).items():
            key = (route_of(request), backend)
            self._usual[key] = max(self._usual.get(key, 1), sum(counts))
            self._over_one[backend] = max(self._over_one.get(backend, 1), *counts)

    def verdict(self, request: RequestEnded, backend: str) -> Verdict:
        """On a request that was hit on its way to ``backend``."""
        again = self._tries(request, backend) - 1
        if again <= self._rules.retries:
            return FINE
        colour = RED if again > self._rules.retry_storm else AMBER
        return Verdict(
            colour,
            f"retry storm: it tried {backend} {again} times more than it usually does",
            STORM,
        )

    def _tries(self, request: RequestEnded, backend: str) -> int:
        counts = _sends(request).get(backend, [])
        refused = sum(each.times for each in request.refused if each.backend == backend)
        connections = (len(counts) + refused) // self._usual.get((route_of(request), backend), 1)
        return max(connections, max(counts, default=0) // self._over_one.get(backend, 1))


def _sends(request: RequestEnded) -> dict[str, list[int]]:
    """Backend -> the sends over each connection to it.

    Where no byte went out, a broken connection was said goodbye to: pools do that to all of theirs.
    """
    found: dict[str, list[int]] = {}
    for used in request.sends:
        if used.sent:
            found.setdefault(used.backend, []).append(used.sends)
    return found
