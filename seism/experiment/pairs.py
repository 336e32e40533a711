"""Pairs of perturbations: what a request meets when something else has already gone wrong.

A pair is worth a probe only where the second one finds something to strike that is left
after the first, and that no other pair has shown already: the principle of lineage-driven
and service-level fault injection. What the first one leaves is what the observer saw in
the probe of it alone; a retry or a fallback is an exchange like any other.

Sources: P. Alvaro, J. Rosen, J. Hellerstein, "Lineage-driven Fault Injection", SIGMOD
2015; C. Meiklejohn et al., "Service-Level Fault Injection Testing", SoCC 2021.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from seism.experiment.config import Planned
from seism.experiment.point import Learnt, Point
from seism.verdict.result import GREEN, Judgement
from seism.verdict.timeline import Timeline
from seism_middleware.contract import RequestEnded

NOT_GREEN = "one of the two alone is not green"
ENDED = "after one of the two, the request does not come to the other"
SAME = "the same behaviour was seen with another pair"
MANY = "beyond the first {} pairs"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two things that are perturbed in the same request."""

    first: Point
    second: Point

    skipped = ""

    @property
    def learnt(self) -> Learnt:
        return self.first.learnt

    @property
    def column(self) -> str:
        """The name in reports."""
        return f"{self.first.column} + {self.second.column}"

    def planned(self) -> Planned:
        """The first perturbation, which has the name of both."""
        return replace(self.first.planned(), name=f"{self.column}: {self.learnt.sent}")

    def partner(self) -> Planned:
        """The second one."""
        return replace(self.second.planned(), name=f"{self.planned().name}, second")


@dataclass(frozen=True, slots=True)
class Seen:
    """How a request behaved that one perturbation hit."""

    status: int | None
    sends: tuple[tuple[str, int], ...]
    """Backend -> sends, of those that it came to."""
    errors: tuple[str, ...]


def seen(timeline: Timeline, index: int) -> Seen | None:
    """What came of the first request that the step ``index`` hit, if it hit one."""
    segment = timeline.find("during", index)
    for request in segment.requests if segment is not None else ():
        if any(attribution.exact for attribution in timeline.attributions.get(request.request, ())):
            return _seen(request)
    return None


def _seen(request: RequestEnded) -> Seen:
    sends: Counter[str] = Counter()
    for used in request.sends:
        sends[used.backend] += used.sends
    return Seen(
        request.status,
        tuple(sorted(sends.items())),
        tuple(sorted(error.exception for error in request.errors)),
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to be tried, and what that saves."""

    pairs: tuple[Pair, ...]
    possible: int
    saved: dict[str, int]


def choose(
    timeline: Timeline, judgement: Judgement, tried: Sequence[Point], most: int, exchanges: int
) -> Chosen:
    """At most ``most`` pairs of the points ``tried``, whose steps have been probed alone.

    Exchanges of a request beyond ``exchanges`` are not perturbed.
    """
    saved: Counter[str] = Counter()
    by_route: dict[str, list[Pair]] = defaultdict(list)
    known: set[tuple[object, ...]] = set()
    behaviour = {id(point): seen(timeline, index) for index, point in enumerate(tried)}
    green = {id(point): _is_green(judgement, point) for point in tried}
    possible = 0
    for first, second, alone in _candidates(tried, behaviour, exchanges):
        possible += 1
        after_first, after_second = behaviour[id(first)], behaviour[id(alone)]
        key = (first.learnt.sent, after_first, second.backend, second.turn, after_second)
        if not (green[id(first)] and green[id(alone)]):
            saved[NOT_GREEN] += 1
        elif not (_comes_to(second, after_first) and _comes_to(first, after_second)):
            saved[ENDED] += 1
        elif key in known:
            saved[SAME] += 1
        else:
            known.add(key)
            by_route[first.learnt.sent].append(Pair(first, second))
    # Each route has its first pair before any has its second; but what went well in spite of
    # the first perturbation, by a retry or a fallback, has more to lose.
    ranked = [
        ((_failed(behaviour[id(pair.first)]), rank), pair)
        for pairs in by_route.values() for rank, pair in enumerate(pairs)
    ]  # fmt: skip
    ranked.sort(key=lambda item: item[0])
    if len(ranked) > most:
        saved[MANY.format(most)] += len(ranked) - most
    return Chosen(tuple(pair for _, pair in ranked[:most]), possible, dict(saved))


def _failed(found: Seen | None) -> bool:
    return found is None or (found.status or 500) >= 500


def _candidates(
    tried: Sequence[Point], behaviour: dict[int, Seen | None], exchanges: int
) -> Iterator[tuple[Point, Point, Point]]:
    """Two points of one route, and how the second was tried alone.

    The second may be an exchange that only the first brings about, a retry say: it is taken
    to be like the last one that there is without it.
    """
    for first in tried:
        mine = [point for point in tried if point.learnt is first.learnt]
        for place, second in enumerate(mine):
            later = place > mine.index(first)
            if later if second.backend != first.backend else 0 < first.turn < second.turn:
                yield first, second, second
        found = behaviour[id(first)]
        for backend, sends in found.sends if found is not None else ():
            usual = first.learnt.sends.get(backend, 0)
            for point in mine:
                other = backend != first.backend or first.turn
                if point.backend == backend and point.turn == usual and other:
                    for turn in range(usual + 1, min(sends, exchanges) + 1):
                        yield first, replace(point, turn=turn), point


def _is_green(judgement: Judgement, point: Point) -> bool:
    cell = judgement.cell(point.learnt.route, point.planned().name)
    fired = point.planned().name not in judgement.never_fired
    return cell is not None and cell.colour == GREEN and fired


def _comes_to(point: Point, left: Seen | None) -> bool:
    return left is not None and dict(left.sends).get(point.backend, 0) >= max(point.turn, 1)
