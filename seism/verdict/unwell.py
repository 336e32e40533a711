"""A 503 to a request whose backend is well again is not a clean one: amber, with how many."""

from __future__ import annotations

from collections.abc import Iterator

from seism.verdict.client_view import took
from seism.verdict.detector import Told, by_request, counted
from seism.verdict.result import AMBER, Verdict
from seism.verdict.rules import Rules
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline

GRACE_S = 1.0
"""Pools may take so long to open their connections again."""
UNAVAILABLE = 503


class UnwellDetector:
    """Looks for 503s of the aftershock that nothing hit."""

    def __init__(self, timeline: Timeline, control: ControlRun, rules: Rules) -> None:
        self._control = control

    def told(self, step: StepWindow) -> Iterator[Told]:
        """Of one step."""
        if step.is_front:
            return
        over = step.after.phase.at
        for (route, _), mine in by_request(step.after.requests).items():
            usual = any(each.status == UNAVAILABLE for each in self._control.requests(route))
            found = [
                each
                for each in mine
                if each.status == UNAVAILABLE and not step.attributions(each.request)
            ]
            if not found or usual:
                continue
            lasted = found[-1].began + took(found[-1]) - over
            if lasted > GRACE_S:
                what = (
                    f"503 to {counted(len(found), len(mine))} after {step.name}, "
                    f"the last one {lasted:.1f} s after its end"
                )
                ids = frozenset(each.request for each in found)
                yield Told(route, ids, Verdict(AMBER, what))
