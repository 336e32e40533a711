"""What the load shows where nothing is perturbed: who is flaky, who is never reached.

Pure functions over the control runs of a timeline: ``steady`` before the first
perturbation, ``control`` after the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from seism.verdict.rules import Rules
from seism.verdict.timeline import Segment, Timeline
from seism_middleware.contract import RequestEnded

FLAKY_BELOW = 0.5
"""A route that fails more often than this without perturbations is broken, not flaky."""

Failure = Callable[[RequestEnded], str]
"""Why a request failed, empty if it did not."""


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


def flaky(timeline: Timeline, failure: Failure, broken: Iterable[str] = ()) -> dict[str, Flaky]:
    """The flaky routes; ``broken`` are those that never recovered from a perturbation."""
    before, after = timeline.find("steady"), timeline.find("control")
    found: dict[str, Flaky] = {}
    early, late = _by_route(before), _by_route(after)
    for route in sorted({*early, *late}):
        then = late.get(route, []) if route not in set(broken) else []
        runs = [early.get(route, []), then]
        reasons = [reason for run in runs for request in run if (reason := failure(request))]
        if reasons and not any(_mostly(run, failure) for run in runs):
            soon = any(map(failure, runs[0]))
            found[route] = Flaky(route, len(reasons), sum(map(len, runs)), reasons[0], soon)
    return found


def damaged(timeline: Timeline, failure: Failure, broken: Iterable[str] = ()) -> list[str]:
    """Routes that had recovered from every perturbation and mostly fail after them all."""
    return [
        f"{route}: {sum(bool(failure(request)) for request in run)} of {len(run)} requests failed "
        f"after all perturbations, although it had recovered ({failure(run[-1]) or 'not the last'})"
        for route, run in sorted(_by_route(timeline.find("control")).items())
        if route not in set(broken) and _mostly(run, failure)
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
        times = sorted(each.duration for each in run)
        for share, limit in rules.quantiles(route).items():
            took = times[max(0, math.ceil(share * len(times)) - 1)]
            if took > limit:
                yield (
                    f"{route}: its p{100 * share:g} is {took * 1000:.0f} ms, "
                    f"{limit * 1000:g} ms are allowed"
                )


def _mostly(run: list[RequestEnded], failure: Failure) -> bool:
    return bool(run) and sum(bool(failure(each)) for each in run) >= FLAKY_BELOW * len(run)


def unreached(timeline: Timeline) -> list[str]:
    """Backends to which nothing was sent in the control run; none where it is not known."""
    segment = timeline.find("steady")
    if segment is None or len(segment.reached) < 2:
        return []
    first, last = segment.reached[0].proxies, segment.reached[-1].proxies
    return sorted(name for name in last if last[name] == first.get(name))


def _by_route(segment: Segment | None) -> Mapping[str, list[RequestEnded]]:
    return segment.by_route() if segment is not None else {}
