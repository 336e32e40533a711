"""When an aftershock is over, by what the load's clients see: each route is as before, or has had
the time that the rules give it.

The journal decides later, by more than statuses and times (``verdict.recovery``). Here it is only
decided how long the load goes on.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from seism.journal import COMPLETE, LEFT, ClientRequest
from seism.verdict.recovery import Reference, recovery_point
from seism.verdict.rules import Rules
from seism.verdict.steady_state import quantile
from seism.verdict.timeline import load_route

SETTLED = 5
"""Answers as before with which a recovery is believed."""


@dataclass(slots=True)
class Calm:
    """What the clients saw of each route in the control run."""

    statuses: dict[str, set[int | None]] = field(default_factory=lambda: defaultdict(set))
    durations: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    bad: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, seen: ClientRequest) -> None:
        self.durations[seen.route].append(seen.duration)
        self.statuses[seen.route].add(seen.status)
        self.bad[seen.route] += _failed(seen)

    def reference(self, route: str) -> Reference:
        return Reference(self.bad[route], len(self.durations[route]))


class Aftershock:
    """What the clients have seen since a perturbation ended."""

    def __init__(
        self, calm: Calm, rules: Rules, routes: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """It begins now. ``routes``: those that are requested, ``METHOD /path``."""
        self._calm = calm
        self._clock = clock
        self._began = clock()
        self._limits = _limits(rules, routes)
        self._deadlines = {
            route: max(deadline, rules.deadline_factor * quantile(calm.durations[route], 0.99))
            for route, (_, deadline) in self._limits.items()
        }
        self._answers: dict[str, list[tuple[float, bool]]] = {route: [] for route in self._limits}

    def add(self, seen: ClientRequest) -> None:
        if seen.outcome == LEFT:
            return
        if seen.route in self._answers and seen.at + seen.duration >= self._began:
            self._answers[seen.route].append((seen.at + seen.duration, self._is_good(seen)))

    def is_over(self) -> bool:
        """Whether each route is as before, or its time is over."""
        return not self._open(self._clock() - self._began)

    def broken(self) -> list[str]:
        """The routes that are not as before."""
        return self._open(0.0)

    def _open(self, elapsed: float) -> list[str]:
        return [
            route
            for route, (limit, _) in self._limits.items()
            if elapsed <= limit and not self._is_as_before(route)
        ]

    def _is_as_before(self, route: str) -> bool:
        answers = [good for _, good in sorted(self._answers[route])]
        point = recovery_point(answers, self._calm.reference(route), strict=True)
        return point is not None and len(answers) - point >= SETTLED

    def _is_good(self, seen: ClientRequest) -> bool:
        status = seen.status or 0
        usual = status < 400 or status in self._calm.statuses[seen.route]
        return usual and not _failed(seen) and seen.duration <= self._deadlines[seen.route]


def _failed(seen: ClientRequest) -> bool:
    return seen.outcome != COMPLETE or (seen.status or 500) >= 500


def _limits(rules: Rules, routes: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Route of the load -> seconds that it may take to recover, and its deadline."""
    routes = list(routes)
    of_load: dict[str, str] = {}
    for pattern in rules.route:
        found = load_route(pattern, routes)
        if found is not None:
            of_load[found] = pattern
    applied = {route: rules.of(of_load.get(route, route)) for route in routes}
    return {route: (rule.recover_s, rule.deadline) for route, rule in applied.items()}


def client_request(row: Sequence[Any]) -> ClientRequest:
    """The fields as the load tells of them, as far as they are needed here."""
    request, route, at, duration, outcome, status, *_ = row
    return ClientRequest(request, route, at, duration, outcome, status)
