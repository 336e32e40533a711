"""The steady state: what the load shows where nothing is perturbed.

Pure functions over the control runs of a timeline: ``steady`` before the first
perturbation, ``control`` after the last.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from seism.verdict import consumer
from seism.verdict.client_view import observations, sent_of, target, took
from seism.verdict.request import failure
from seism.verdict.result import Steady
from seism.verdict.rules import Rules
from seism.verdict.timeline import Segment, Timeline, route_of
from seism.verdict.wrong_reply import WrongReplies
from seism_middleware.contract import BODY_NONE, BODY_TRUNCATED, RequestEnded

JUDGED = ("steady", "during", "after", "mixed")
"""The phases whose requests are judged."""

FLAKY_BELOW = 0.5
"""A route that fails more often than this without perturbations is broken, not flaky."""


class ControlRun:
    """The run before the first perturbation, and what of a request is as it was there."""

    def __init__(self, timeline: Timeline, rules: Rules, replies: WrongReplies) -> None:
        self.replies = replies
        self._timeline = timeline
        self._rules = rules
        self._segment = timeline.find("steady")
        requests = _by_route(self._segment)
        judged = [s for s in timeline.segments if s.phase.phase in JUDGED]
        # A route that shows only under a perturbation (a failure before the routing, say)
        # is judged too, just without anything to compare it with.
        self.routes = sorted({route_of(r) for segment in judged for r in segment.requests})
        self.rules = {route: rules.of(route) for route in self.routes}
        self.p99 = {
            route: quantile([took(request) for request in seen], 0.99)
            for route, seen in requests.items()
        }
        self.deadline = {
            route: max(self.rules[route].deadline, rules.deadline_factor * self.p99.get(route, 0.0))
            for route in self.routes
        }
        self._medians = {
            route: quantile([took(request) for request in seen], 0.5)
            for route, seen in requests.items()
        }
        self._requests = requests
        self._targets = {
            route: Targets(target(request) for request in requests.get(route, ()))
            for route in self.routes
        }
        self._statuses = {
            route: {request.status for request in requests.get(route, ())} for route in self.routes
        }

    def requests(self, route: str) -> Sequence[RequestEnded]:
        """Those of ``route`` in the control run."""
        return self._requests.get(route, ())

    def median(self, route: str) -> float:
        """Seconds that an answer of ``route`` takes in the control run; 0 if it is not there."""
        return self._medians.get(route, 0.0)

    def is_good(self, request: RequestEnded) -> bool:
        """Whether it is as in the control run, and has not failed: some of those may have."""
        return self.is_as_steady(request) and not failure(request)

    def steady(self) -> Steady:
        """Whether the app was in a steady state."""
        requests = self._timeline.steady_requests
        reason = self._objection(requests)
        return Steady(not reason, reason, len(requests), self.p99, self.deadline)

    def is_usual(self, request: RequestEnded) -> bool:
        """Whether its status is 2xx, or one that the control run gave, too; of a redirect, whether
        it leads where one of the control run does.
        """
        route = route_of(request)
        if request.status is None:
            return False
        if (where := target(request)) and route in self._requests:
            return self._targets[route].has(where)
        return request.status < 400 or request.status in self._statuses[route]

    def target(self, request: RequestEnded) -> str:
        """Where its redirect leads, without what differs among those of the control run."""
        return self._targets[route_of(request)].pattern(target(request))

    def is_as_steady(self, request: RequestEnded) -> bool:
        """Whether nothing about it differs from the control run."""
        return (
            self.is_usual(request)
            and request.body not in (BODY_NONE, BODY_TRUNCATED)
            and not self.replies.reason(request.request)
            and took(request) <= self.deadline[route_of(request)]
        )

    def _objection(self, requests: Sequence[RequestEnded]) -> str:
        load = self._segment.load if self._segment else None
        seen = observations(requests)
        if not seen and load is not None and load.requests:
            return (
                f"{load.requests} requests were sent and no observation arrived: is the app "
                "wrapped by the middleware, and does it find the sidecar (SEISM_SIDECAR)?"
            )
        if not seen:
            return "no request was observed in the control run"
        known = flaky(self._timeline)
        if known.keys() >= {route_of(request) for request in requests}:
            known = {}  # nobody is steady
        bad = Counter(
            f"{route_of(request)}: {failed}"
            for request in requests
            if route_of(request) not in known
            and (failed := failure(request) or self.replies.reason(request.request))
        )
        if not bad:
            return next(unmet(self._segment, self._rules), "") or self._unreached()
        worst, count = bad.most_common(1)[0]
        more = f", and {len(bad) - 1} more kinds of failure" if len(bad) > 1 else ""
        return f"without any perturbation {worst} ({count} times{more})"

    def _unreached(self) -> str:
        waited_for = consumer.backends(self._timeline)
        backends = [each for each in unreached(self._timeline) if each not in waited_for]
        if not backends:
            return ""
        unknown = list(refused(self._timeline, self._rules))
        if unknown:
            return f"nothing was sent to {' and '.join(backends)}: {'; '.join(unknown)}"
        return (
            f"nothing was sent to {' and '.join(backends)} in the control run: does the app "
            "connect to the proxy, and does a route of the load need it?"
        )


class Targets:
    """Where the redirects of one route lead in the control run.

    A segment of the path that differs among them, such as the name of what was made, is volatile.
    """

    def __init__(self, targets: Iterable[str]) -> None:
        self._paths: dict[int, list[set[str]]] = {}
        """By the number of segments: what each of them was."""
        for each in filter(None, targets):
            path = _segments(each)
            known = self._paths.setdefault(len(path), [set() for _ in path])
            for seen, segment in zip(known, path, strict=True):
                seen.add(segment)

    def has(self, target: str) -> bool:
        """Whether a redirect to ``target`` leads where one of these does."""
        return self._pattern(target) is not None

    def pattern(self, target: str) -> str:
        """``target`` without its query, and with ``{id}`` for each segment that is volatile."""
        return self._pattern(target) or "/".join(_segments(target))

    def _pattern(self, target: str) -> str | None:
        path = _segments(target)
        known = self._paths.get(len(path))
        if known is None:
            return None
        pairs = list(zip(known, path, strict=True))
        if not all(segment in seen or len(seen) > 1 for seen, segment in pairs):
            return None
        return "/".join("{id}" if len(seen) > 1 else segment for seen, segment in pairs)


def _segments(target: str) -> list[str]:
    """Of the host and path; a query's parameters say what a page is to show."""
    return target.partition("?")[0].split("/")


@dataclass(frozen=True, slots=True)
class Flaky:
    """A route that fails now and then although nothing is perturbed."""

    route: str
    failed: int
    requests: int
    reason: str
    """The first failure."""
    before: bool
    """It did so before anything was perturbed; if not, late damage would look the same."""

    def __str__(self) -> str:
        when = "" if self.before else ", all of them after the perturbations"
        return (
            f"{self.route} is flaky: {self.failed} of {self.requests} requests failed "
            f"without any perturbation ({self.reason}{when})"
        )


def flaky(timeline: Timeline, broken: Iterable[str] = ()) -> dict[str, Flaky]:
    """The flaky routes; ``broken`` are those that never recovered from a perturbation."""
    before, after = timeline.find("steady"), timeline.find("control")
    found: dict[str, Flaky] = {}
    early, late = _by_route(before), _by_route(after)
    for route in sorted({*early, *late}):
        then = late.get(route, []) if route not in set(broken) else []
        runs = [early.get(route, []), then]
        reasons = [reason for run in runs for request in run if (reason := failure(request))]
        if reasons and not any(_mostly_fails(run) for run in runs):
            soon = any(map(failure, runs[0]))
            found[route] = Flaky(route, len(reasons), sum(map(len, runs)), reasons[0], soon)
    return found


def damaged(timeline: Timeline, broken: Iterable[str] = ()) -> list[str]:
    """Routes that had recovered from every perturbation and mostly fail after them all."""
    return [
        f"{route}: {sum(bool(failure(request)) for request in run)} of {len(run)} requests failed "
        f"after all perturbations, although it had recovered ({failure(run[-1]) or 'not the last'})"
        for route, run in sorted(_by_route(timeline.find("control")).items())
        if route not in set(broken) and _mostly_fails(run)
    ]


def unmet(segment: Segment | None, rules: Rules) -> Iterator[str]:
    """What of the hypothesis does not hold in a control run: statuses, quantiles of times."""
    for route, run in sorted(_by_route(segment).items()):
        wanted = rules.route[route].statuses if route in rules.route else ()
        other = [each for each in run if wanted and each.status not in wanted]
        if other:
            yield (
                f"{route}: {len(other)} of {len(run)} answers had another status than "
                f"{' or '.join(map(str, wanted))}: {other[0].status}"
            )
        odd = [what for each in run if (sent := sent_of(each)) and (what := sent.unexpected)]
        if odd:
            yield f"{route}: {len(odd)} of {len(run)} answers were not as expected: {odd[0]}"
        times = [each.duration for each in run]
        for share, limit in rules.quantiles(route).items():
            took = quantile(times, share)
            if took > limit:
                yield (
                    f"{route}: its p{100 * share:g} is {took * 1000:.0f} ms, "
                    f"{limit * 1000:g} ms are allowed"
                )


def _mostly_fails(run: Sequence[RequestEnded]) -> bool:
    return bool(run) and sum(bool(failure(each)) for each in run) >= FLAKY_BELOW * len(run)


def unreached(timeline: Timeline) -> list[str]:
    """Backends to which nothing was sent in the control run; none where it is not known."""
    segment = timeline.find("steady")
    if segment is None or len(segment.reached) < 2:
        return []
    first, last = segment.reached[0].proxies, segment.reached[-1].proxies
    return sorted(name for name in last if last[name] == first.get(name))


NO_ROUTE = (404, 405, 501)
"""Statuses of a path that the app does not have, or of a method that it does not take."""


def refused(timeline: Timeline, rules: Rules) -> Iterator[str]:
    """Routes of the load that the app does not have, by the control run."""
    for route, run in sorted(_by_route(timeline.find("steady")).items()):
        wanted = rules.route[route].statuses if route in rules.route else ()
        statuses = {request.status for request in run} - {*wanted}
        asked = any(request.sends for request in run)
        if len(statuses) == 1 and statuses <= {*NO_ROUTE} and not asked:
            yield (
                f"{route}: every answer of the control run was {statuses.pop()}: check path and "
                "method of the [[load.route]]"
            )


def _by_route(segment: Segment | None) -> Mapping[str, list[RequestEnded]]:
    return segment.by_route() if segment is not None else {}


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that is at least as large as a ``share`` of all, 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
