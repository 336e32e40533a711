"""Failures that nothing is attributed to, beside the rate at which their route fails by itself.

A route that fails in 1 of 100 requests does so while something is perturbed as well. What went
wrong is the perturbation's only where it goes wrong more often than without one (Fisher's exact
test, 1 %, with Holm's correction over the cells of the run). The rest is not blamed on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from seism.verdict.significance import SIGNIFICANT, fisher_exact, holm
from seism.verdict.steady_state import ControlRun
from seism.verdict.timeline import Timeline

Place = tuple[str, str]
"""A route, and the phase ``during`` or ``after``."""


@dataclass(frozen=True, slots=True)
class Unattributed:
    """The requests of one cell that nothing is attributed to, beside those without perturbation."""

    failed: int
    total: int
    usual_failed: int
    usual_total: int

    @property
    def chance(self) -> float:
        """That the route's own rate gives as many."""
        return fisher_exact(self.failed, self.total, self.usual_failed, self.usual_total)

    @property
    def is_usual(self) -> bool:
        """Whether the route fails so by itself, as the control run has shown."""
        return self.usual_failed > 0

    def __str__(self) -> str:
        return (
            f"{self.failed} of {self.total} requests that nothing is known to have hit went wrong, "
            f"{self.usual_failed} of {self.usual_total} did without a perturbation"
        )


class OwnRates:
    """How often each route goes wrong by itself."""

    def __init__(self, timeline: Timeline, control: ControlRun) -> None:
        self._bad: dict[str, int] = {}
        self._total: dict[str, int] = {}
        for segment in timeline.untouched():
            for route, requests in segment.by_route().items():
                if route in control.deadline:
                    bad = sum(not control.is_good(request) for request in requests)
                    self._bad[route] = self._bad.get(route, 0) + bad
                    self._total[route] = self._total.get(route, 0) + len(requests)

    def beside(self, route: str, failed: int, total: int) -> Unattributed:
        """``failed`` of ``total`` requests of one cell."""
        return Unattributed(failed, total, self._bad.get(route, 0), self._total.get(route, 0))


def believed(
    found: Iterable[tuple[int, Mapping[Place, Unattributed]]],
) -> frozenset[tuple[int, Place]]:
    """(Step, place) of what fails more often than its route does by itself.

    A route that never ran without a perturbation has no rate of its own: what is wrong is believed.
    """
    cells = {
        (step, place): unattributed
        for step, of_step in found
        for place, unattributed in of_step.items()
    }
    unknown = {key for key, each in cells.items() if not each.usual_total}
    chances = {key: each.chance for key, each in cells.items() if key not in unknown}
    return holm(chances, SIGNIFICANT) | unknown
