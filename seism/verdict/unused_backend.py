"""Routes that stop asking a backend once it was perturbed: a breaker, a stale flag, a failure that
is kept in a cache.

They differ from the control run although each answer may look fine: amber, with the figures. What
follows on that backend says nothing of such a route.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seism.verdict.client_view import took
from seism.verdict.detector import Told
from seism.verdict.result import AMBER, UNUSED, Verdict
from seism.verdict.rules import Rules
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline, route_of
from seism_middleware.contract import RequestEnded

LEAST = 5
"""Requests after the perturbation that are enough to say that none of them asks."""
USUALLY = 0.9
"""The share of the control run's requests that ask, for a route that needs the backend."""


class UnusedBackendDetector:
    """Knows how often each route asks each backend in the control run."""

    def __init__(self, timeline: Timeline, control: ControlRun, rules: Rules) -> None:
        self._timeline = timeline
        self._rules = rules
        self._needed: dict[tuple[str, str], int] = {}
        """(Route, backend) -> the sends of the control run, where nearly all requests ask."""
        for route in control.routes:
            requests = control.requests(route)
            for backend in {send.backend for each in requests for send in each.sends}:
                asking = [each for each in requests if asks(each, backend)]
                if len(asking) >= max(LEAST, USUALLY * len(requests)):
                    sends = (s.sends for r in asking for s in r.sends if s.backend == backend)
                    self._needed[route, backend] = sum(sends)

    def told(self, step: StepWindow) -> Iterator[Told]:
        """Of one step, and what came after it until the app was started again."""
        if step.is_front or not step.after.requests:
            return
        over = step.after.phase.at
        for (route, backend), before in self._needed.items():
            if backend not in step.backends or not self._was_hit(step, route):
                continue
            later = self._later(route, over)
            silent = _until_used(later, backend)
            lasted = silent[-1].began + took(silent[-1]) - over if silent else 0.0
            if len(silent) < LEAST or lasted < self._rules.of(route).recover_s:
                continue
            again = len(silent) < len(later)
            what = (
                f"has not used {backend} for {lasted:.0f} s after {step.name}"
                if again
                else f"has not used {backend} since {step.name}"
            )
            figures = f"{before} exchanges before, 0 of {len(silent)} requests after"
            ids = {each.request for each in silent} & {each.request for each in step.requests}
            verdict = Verdict(AMBER, f"{what}: {figures}", UNUSED)
            unused = () if again else (backend,)
            yield Told(route, frozenset(ids), verdict, certain=True, unused=unused)

    def _was_hit(self, step: StepWindow, route: str) -> bool:
        mine = [each for each in step.during.requests if route_of(each) == route]
        return any(step.attributions(each.request) for each in mine) or (
            step.is_down and bool(mine)
        )

    def _later(self, route: str, over: float) -> list[RequestEnded]:
        """The requests of ``route`` from ``over`` on that the same app has answered."""
        segments = self._timeline.segments
        starts = [
            each.phase.at
            for each in segments
            if each.phase.phase == "warmup" and each.phase.step is not None and each.phase.at > over
        ]
        end = min(starts, default=float("inf"))
        return [
            request
            for segment in segments
            for request in segment.requests
            if route_of(request) == route and over <= request.began < end
        ]


def asks(request: RequestEnded, backend: str) -> bool:
    """Whether ``request`` sent anything to ``backend``, or tried to connect."""
    return any(each.backend == backend for each in request.sends) or any(
        each.backend == backend for each in request.refused
    )


def _until_used(requests: Sequence[RequestEnded], backend: str) -> list[RequestEnded]:
    """Those before the first one that asks ``backend``."""
    found: list[RequestEnded] = []
    for request in requests:
        if asks(request, backend):
            break
        found.append(request)
    return found
