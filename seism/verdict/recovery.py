"""How long a route takes, after a perturbation has ended, until it is as before.

Recovery is a time, not a number of requests: a pool that waits for a second between two attempts
to connect may refuse hundreds of requests meanwhile. A route is as before once its share of good
answers is: a single late failure is not a relapse, and a single good answer among failures is not a
recovery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seism.verdict.client_view import took
from seism.verdict.patience import UNDONE
from seism.verdict.result import AMBER, FINE, RED, UNRECOVERED, Recovery, Verdict, plural
from seism.verdict.significance import SIGNIFICANT, fisher_exact
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Segment
from seism_middleware.contract import RequestEnded

RUN = 3
"""Good answers in a row with which a recovery begins."""
BETTER = 0.05
"""The chance of an error below which answers are believed to be better than those before them."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The answers of a route without any perturbation."""

    bad: int
    total: int


def recovery_point(good: Sequence[bool], usual: Reference, *, strict: bool) -> int | None:
    """The index from which ``good``, the answers in order, is as ``usual``; None if there is none.

    The answers from there on begin with ``RUN`` good ones, and are not significantly worse than
    ``usual``. ``strict``: they are also better than those before them, unless all of those were
    bad, so that a run of good answers among failures does not pass for a recovery.
    """
    total = len(good)
    run = min(RUN, total)
    if not run:
        return None
    bad_from = [0] * (total + 1)
    for index in reversed(range(total)):
        bad_from[index] = bad_from[index + 1] + (not good[index])
    # A failure or two of all of them are not more than the route may have by itself.
    few = fisher_exact(bad_from[0], total, usual.bad, usual.total) >= SIGNIFICANT
    for index in range(total - run + 1):
        # Later places in a run of good answers can be no better than its first.
        if (index and good[index - 1]) or bad_from[index] != bad_from[index + run]:
            continue
        bad, rest = bad_from[index], total - index
        if bad and fisher_exact(bad, rest, usual.bad, usual.total) < SIGNIFICANT:
            continue
        before = bad_from[0] - bad
        mixed = 0 < before < index
        if strict and mixed and not few and fisher_exact(before, index, bad, rest) >= BETTER:
            continue
        return index
    return None


class Recoveries:
    """How each route recovered from one step."""

    def __init__(self, step: StepWindow, control: ControlRun) -> None:
        self._control = control
        self._since = _end(step)
        closing = closing_run(step)
        after = step.after.by_route()
        later = closing.by_route() if closing is not None else {}
        self._until = max(map(_ended, step.after.requests), default=self._since)
        self._of = {
            route: self._recovery(route, requests, later.get(route, ()))
            for route, requests in after.items()
        }

    def of(self, route: str) -> Recovery | None:
        """None: nothing of it was requested afterwards."""
        return self._of.get(route)

    def verdict(self, route: str) -> Verdict:
        """Whether it took too long."""
        rules = self._control.rules[route]
        return recovery_verdict(self._of.get(route), rules.recover_s, rules.recover_slow_s)

    def broken(self) -> list[str]:
        """The routes that had not recovered when their aftershock ended."""
        return [route for route, found in self._of.items() if found.seconds is None]

    def _recovery(
        self, route: str, requests: Sequence[RequestEnded], later: Sequence[RequestEnded]
    ) -> Recovery:
        control, since = self._control, self._since
        answers = sorted(requests, key=_ended)
        good = [control.is_good(request) for request in answers]
        usual = reference(route, control)
        watched = max(0.0, self._until - since)
        limit = control.rules[route].recover_s
        point = recovery_point(good, usual, strict=watched >= limit)
        bad = good.count(False)
        if point is None:
            return Recovery(None, len(good), bad, watched, _lasting(later, usual, control))
        if point == 0:
            return Recovery(0.0, 0, bad, watched)
        # Its answer was on its way for as long as it usually is.
        seconds = _ended(answers[point]) - control.median(route) - since
        return Recovery(max(0.0, seconds), point, bad, watched)


def reference(route: str, control: ControlRun) -> Reference:
    """What ``route`` does without any perturbation."""
    requests = control.requests(route)
    return Reference(sum(not control.is_good(request) for request in requests), len(requests))


def closing_run(step: StepWindow) -> Segment | None:
    """The last control run, if ``step`` is the last and the app was not restarted since."""
    found = None
    for segment in reversed(step.timeline.segments):
        if segment is step.after:
            return found
        if segment.phase.phase not in ("control", "end"):
            return None
        if segment.phase.phase == "control":
            found = segment
    return None


def _end(step: StepWindow) -> float:
    """When its perturbation was undone."""
    begin, over = step.during.phase.at, step.after.phase.at
    ends = step.timeline.ends
    undone = [
        ends[key].at
        for key in step.records
        if key in ends and ends[key].outcome in UNDONE and begin <= ends[key].at <= over
    ]
    return max(undone, default=over)


def _lasting(later: Sequence[RequestEnded], usual: Reference, control: ControlRun) -> str:
    """How the last control run fails more than the first; empty if it does not."""
    bad = sum(not control.is_good(request) for request in later)
    if not bad or fisher_exact(bad, len(later), usual.bad, usual.total) >= SIGNIFICANT:
        return ""
    return f"{bad} of {len(later)} requests of the last control run failed"


def _ended(request: RequestEnded) -> float:
    return request.began + took(request)


def recovery_verdict(found: Recovery | None, limit: float, slow: float) -> Verdict:
    """Whether a recovery took too long: more than ``slow`` seconds, or than ``limit``."""
    if found is None:
        return FINE
    if found.seconds is None and found.watched < limit and not found.lasting:
        return Verdict(
            AMBER,
            f"not recovered when its aftershock ended, after {found.watched:.1f} s "
            f"({found.bad} of {found.requests} requests)",
            UNRECOVERED,
        )
    if found.seconds is None:
        never = f"; never, until restarted: {found.lasting}" if found.lasting else ""
        within = f"within {limit:g} s"
        if found.watched < limit:
            within = f"when its aftershock ended, after {found.watched:.1f} s"
        return Verdict(
            RED,
            f"not recovered {within} ({found.bad} of {found.requests} requests){never}",
            UNRECOVERED,
        )
    if found.seconds > limit:
        return Verdict(
            RED,
            f"recovered after {found.seconds:.1f} s ({plural(found.requests, 'request')}), "
            f"not within {limit:g} s",
            UNRECOVERED,
        )
    if found.seconds > slow:
        return Verdict(
            AMBER,
            f"recovered after {found.seconds:.1f} s only ({plural(found.requests, 'request')})",
            UNRECOVERED,
        )
    return FINE
