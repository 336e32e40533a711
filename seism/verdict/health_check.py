"""Health checks that say that all is well while a backend that they ask is down, and others fail.

Whoever asks them goes by the status: a load balancer, an orchestrator, a pager. An app that does
without the backend is well, and may say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from seism.verdict.detector import ENOUGH, Told, counted
from seism.verdict.request import failure
from seism.verdict.result import AMBER, Verdict
from seism.verdict.rules import Rules
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline, route_of
from seism.verdict.unused_backend import asks
from seism_middleware.contract import RequestEnded

HEALTH_CHECK = re.compile(
    r"(?<![a-z])(health[a-z]*|heartbeat|ready|readyz|readiness)(?![a-z])", re.I
)
"""What the path of a route has that is one."""


def _is_other(request: RequestEnded) -> bool:
    """Whether its route is something else than a health check."""
    return not HEALTH_CHECK.search(route_of(request))


class HealthCheckDetector:
    """Looks at the routes whose names say that they are health checks."""

    def __init__(self, timeline: Timeline, control: ControlRun, rules: Rules) -> None:
        self._asking = {
            (route, backend)
            for route in control.routes
            if HEALTH_CHECK.search(route) and len(control.requests(route)) >= ENOUGH
            for backend in {send.backend for r in control.requests(route) for send in r.sends}
            if all(asks(request, backend) for request in control.requests(route))
        }

    def told(self, step: StepWindow) -> Iterator[Told]:
        """Of a step in which a backend is down for everybody."""
        if not step.is_down or not step.is_of_all:
            return
        down = step.during.phase.at
        if not any(failure(each) for each in step.during.requests if _is_other(each)):
            return
        for route, backend in sorted(self._asking):
            mine = [
                request
                for request in step.during.requests
                if route_of(request) == route and request.began > down
            ]
            well = [request for request in mine if 200 <= (request.status or 0) < 300]
            if backend not in step.backends or not well or len(well) * 2 < len(mine):
                continue
            told = f"a health check that says all is well: {counted(len(well), len(mine))} were "
            told += f"answered {well[0].status} while {backend}, which it asks, was down"
            ids = frozenset(request.request for request in well)
            yield Told(route, ids, Verdict(AMBER, told), certain=True)
