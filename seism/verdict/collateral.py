"""Requests that nothing hit, and that fail while or after a perturbation acts on others.

A queue of waiters, a pool that is full, threads that all wait: their requests have no
attribution. They are collateral of the perturbation if requests of their route fail significantly
more often than in the control run: a route that fails at its own rate is not blamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seism.verdict.client_view import took
from seism.verdict.request import failure
from seism.verdict.result import AMBER, COLLATERAL, RED, Verdict
from seism.verdict.significance import SIGNIFICANT, fisher_exact
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import route_of
from seism_middleware.contract import RequestEnded

AMPLIFIED = 20
"""More failures than so many times the requests that were hit are red if most requests fail."""


@dataclass(frozen=True, slots=True)
class RouteCollateral:
    """The requests of one route that are collateral of a step, and what is said of them."""

    requests: frozenset[str]
    verdict: Verdict | None
    """None: what was perturbed was away for everybody, so that an honest 503 is right."""


def collateral(step: StepWindow, control: ControlRun) -> dict[str, RouteCollateral]:
    """Route -> its collateral, for each route that has any."""
    begins = [record.at for record in step.records.values()]
    if not begins or step.is_front:
        return {}
    first = min(begins)
    hit = len(step.all_attributions())
    found = {}
    for route, mine in _unhit(step, control, first):
        failed = [request for request in mine if _fails(request, control)]
        usual = control.requests(route)
        usual_failed = sum(_fails(request, control) for request in usual)
        if not failed or not usual:
            continue
        if fisher_exact(len(failed), len(mine), usual_failed, len(usual)) >= SIGNIFICANT:
            continue
        reason = (
            f"collateral: {len(failed)} of {len(mine)} requests that nothing hit failed, "
            f"{usual_failed} of {len(usual)} in the control run"
        )
        most = 2 * len(failed) > len(mine) and len(failed) > AMPLIFIED * max(hit, 1)
        verdict = None
        if not (step.is_of_all and _needs(route, step, control)):
            verdict = Verdict(RED if most else AMBER, reason, COLLATERAL)
        found[route] = RouteCollateral(frozenset(each.request for each in failed), verdict)
    return found


def _unhit(
    step: StepWindow, control: ControlRun, first: float
) -> Iterator[tuple[str, Sequence[RequestEnded]]]:
    """Each route with its requests that nothing hit, and that could suffer from what began at
    ``first``; without the aftershock, in which they may still fail (``recovery``).
    """
    for route, requests in sorted(step.during.by_route().items()):
        mine = [
            request
            for request in requests
            if not step.attributions(request.request) and request.began + took(request) >= first
        ]
        yield route, mine


def _fails(request: RequestEnded, control: ControlRun) -> bool:
    return bool(failure(request)) or took(request) > control.deadline[route_of(request)]


def _needs(route: str, step: StepWindow, control: ControlRun) -> bool:
    """Whether ``route`` asks a backend of ``step`` in the control run, or nobody can know."""
    backends = set(step.backends)
    known = {
        each
        for each in control.routes
        if any(
            send.backend in backends for request in control.requests(each) for send in request.sends
        )
    }
    return not known or route in known
