"""The connections of each worker to one backend, compared by its censuses before and after.

What follows from counting alone is said to be so only where no healthy pool could give the
same count:

lost    a pool that opens connections before any request needs them, and did not open all of
        them again: fewer are open than at the start, ``pool_seconds`` after the aftershock,
        though it has opened some by itself (one that waits for requests may open the rest
        when they come); or requests that still fail without having got a connection
leaked  more connections stay open than requests ever ran at once; or one stays open and
        unused while its own route opens another, or gets none, which no pool does to its
        users that still has it
hang    a request that runs on when the perturbation has been over for its whole deadline
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression

from seism.verdict.client_view import left
from seism.verdict.request import failure
from seism.verdict.result import (
    AMBER,
    GREEN,
    HANG,
    LEAKED,
    LOST,
    MOST_NAMED,
    RED,
    HarmFinding,
    Pool,
    listed,
)
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline, route_of, worker_of
from seism_middleware.contract import Census, OpenConnection, RequestEnded

MARGIN = 0.1
"""Seconds: what follows closer than this on the end of a request may overlap with it."""


TELLING = 10
"""Fewer values say nothing of a slope or a mean."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What is still no harm."""

    deadlines: Mapping[str, float]
    """Route of the control run -> seconds."""
    broken: frozenset[str]
    """Routes that have not recovered by the end of the aftershock."""
    left_behind: int
    """Connections that may stay open unused."""


class Pools:
    """The connections of each worker to the perturbed backend, over one step."""

    def __init__(self, step: StepWindow) -> None:
        self._step = step
        self._timeline = step.timeline
        self._backend = step.targets[0][0]
        self._before, self._during, self._after = step.before, step.during, step.after
        self._floor = floor(self._timeline, self._backend)
        self._attributions = step.all_attributions()

    def missing(self) -> dict[str, bool]:
        """The workers whose pool has fewer connections than it opens by itself -> whether it has
        opened some of those that it has by itself, after the perturbation.

        Without those whose requests open what they need.
        """
        found = {}
        for worker, census in self._after.censuses.items():
            rows, earlier = self._rows(census), self._before.censuses.get(worker)
            known = {row.local for row in earlier.connections} if earlier else set()
            new = [row for row in rows if row.local not in known]
            if len(rows) < self._floor and all(row.opener is None for row in new):
                found[worker] = bool(new)
        return found

    def findings(self, limits: PoolLimits) -> Iterator[HarmFinding]:
        """Connections that are lost or left behind, and requests that hang on them."""
        for worker, certain in self.missing().items():
            count = self._floor - len(self._rows(self._after.censuses[worker]))
            yield self._finding(
                LOST,
                worker,
                f"{count} of the {self._floor} connections that the pool of worker {worker} keeps "
                f"to {self._backend} were not opened again",
                colour=RED if certain else GREEN,
                exact=certain,
            )
        for worker, census in self._after.censuses.items():
            yield from self._starved(worker, census, limits)
            yield from self._grown(worker, census, limits)
            yield from self._superseded(worker, census, limits)
            yield from self._hanging(worker, census, limits)

    def summary(self) -> Iterator[Pool]:
        """Before and after, of each worker."""
        for worker, census in self._after.censuses.items():
            earlier = self._before.censuses.get(worker)
            if earlier is None:
                continue
            mine = [r for r in self._after.requests if worker_of(r.request) == worker]
            meanwhile = self._during.censuses.get(worker)
            yield Pool(
                self._step.name,
                worker,
                self._backend,
                len(self._rows(earlier)),
                len(self._rows(meanwhile)) if meanwhile else None,
                len(self._rows(census)),
                _slope(mine),
                _cpu(mine, self._timeline, worker),
            )

    def _grown(self, worker: str, census: Census, limits: PoolLimits) -> Iterator[HarmFinding]:
        """Pigeonhole: a pool opens one more only where all that it has are in use, so it has no use
        for more of them than requests ran at once since.
        """
        opened = [
            row
            for row in self._rows(census)
            if row.opener is not None and not row.unsure and self._is_left(row, census)
        ]
        earlier = self._before.censuses.get(worker)
        grew = earlier is not None and len(self._rows(census)) > len(self._rows(earlier))
        if not grew or len(opened) - self._floor <= limits.left_behind:
            return  # whatever ran at once; that takes a look at all requests of the run
        openers = (self._timeline.requests.get(row.opener or "") for row in opened)
        since = min((opener.began for opener in openers if opener), default=0.0)
        most = _at_once(self._timeline, worker, census.at, since) * _each(self._timeline, worker)
        if len(opened) - max(most, self._floor) > limits.left_behind:
            yield self._finding(
                LEAKED,
                worker,
                f"worker {worker} holds {len(opened)} connections to {self._backend} that nobody "
                f"has used since a request failed or was left on each, and no more than {most} "
                "can have been in use at once since the first of them was opened",
                requests=sorted({row.user for row in opened if row.user}),
            )

    def _is_left(self, row: OpenConnection, census: Census) -> bool:
        """Whether its last user failed, was hit, and nobody uses it later in the run: a connection
        that its thread keeps, or that a pool hands out again, is not left.
        """
        user = self._timeline.requests.get(row.user or "")
        return (
            user is not None
            and (bool(failure(user)) or left(user))
            and user.request in self._attributions
            and not self._timeline.is_used_after(user, row.local, census.at)
        )

    def _superseded(self, worker: str, census: Census, limits: PoolLimits) -> Iterator[HarmFinding]:
        """Open and idle, while its own route opened another: no pool has it any more."""
        rows = self._rows(census)
        found = [row for row in rows if self._is_superseded(row, rows, census.at)]
        for row in found:
            yield self._finding(
                LEAKED,
                worker,
                f"connection {row.local} to {self._backend} stays open, unused since request "
                f"{row.user}, while others were opened in its place, since {self._hit_by(row)}",
                colour=RED if len(found) > limits.left_behind else AMBER,
                row=row,
                requests=[row.user or ""],
            )

    def _is_superseded(
        self, row: OpenConnection, rows: Sequence[OpenConnection], at: float
    ) -> bool:
        user = self._timeline.requests.get(row.user or "")
        if user is None or row.in_use or user.request not in self._attributions:
            return False
        if self._timeline.is_used_after(user, row.local, at):
            return False
        idle = max(user.began + user.duration, self._after.phase.at) + MARGIN
        openers = (self._timeline.requests.get(other.opener or "") for other in rows)
        return any(
            opener is not None and opener.began > idle and route_of(opener) == route_of(user)
            for opener in openers
        )

    def _starved(self, worker: str, census: Census, limits: PoolLimits) -> Iterator[HarmFinding]:
        """Requests that fail to the end, and have asked the backend nothing."""
        users = {route_of(r) for r in self._timeline.steady_requests if self._asked(r)}
        found = [
            request.request
            for route, requests in self._after.by_route().items()
            if route in users & limits.broken
            for request in requests
            if (request.status or 500) >= 500
            and not self._asked(request)
            and worker_of(request.request) == worker
        ]
        if not found:
            return
        rows = self._rows(census)
        idle = [
            row
            for row in rows
            if not row.in_use
            and row.user in self._attributions
            and (user := self._timeline.requests.get(row.user or "")) is not None
            and not self._timeline.is_used_after(user, row.local, census.at)
        ]
        starved = f"{listed(found)} got no connection to {self._backend}"
        for row in idle:
            yield self._finding(
                LEAKED,
                worker,
                f"{starved}, while connection {row.local} stays open, unused since request "
                f"{row.user}, since {self._hit_by(row)}",
                row=row,
                requests=[row.user or "", *found],
            )
        if not idle:
            yield self._finding(
                LOST,
                worker,
                f"{starved}, of which {len(rows)} are open: places of its pool may be lost",
                colour=GREEN,
                exact=False,
                requests=found,
            )

    def _asked(self, request: RequestEnded) -> bool:
        return any(used.backend == self._backend for used in request.sends)

    def _hanging(self, worker: str, census: Census, limits: PoolLimits) -> Iterator[HarmFinding]:
        for request in self._step.requests:
            route = route_of(request)
            limit = limits.deadlines.get(route, math.inf)  # it may run for long at all times
            over = max(request.began, self._after.phase.at)
            ended = request.began + request.duration
            if (
                worker_of(request.request) != worker
                or ended <= census.at
                or census.at - over <= limit
            ):
                continue
            used = [r for r in self._rows(census) if r.user == request.request and r.in_use]
            on = (
                f"on connection {used[-1].local} to {self._backend}"
                if used
                else f"without a connection to {self._backend}"
            )
            attributions = self._attributions.get(request.request, ())
            attribution = min(
                attributions, key=lambda attribution: not attribution.exact, default=None
            )
            yield HarmFinding(
                kind=HANG,
                perturbation=self._step.name,
                colour=RED,
                what=f"request {request.request} ({route}) ran on for {ended - over:.1f} s "
                f"after the perturbation was over, {on}",
                evidence=attribution.evidence if attribution else "census",
                exact=bool(attribution and attribution.exact),
                backend=self._backend,
                worker=worker,
                connection=used[-1].local if used else "",
                requests=(request.request,),
                hit_by=attribution.perturbation if attribution else "",
            )

    def _rows(self, census: Census) -> list[OpenConnection]:
        return [row for row in census.connections if row.backend == self._backend]

    def _hit_by(self, row: OpenConnection) -> str:
        """The perturbation that hit the last user of a connection."""
        return self._attributions[row.user or ""][0].perturbation

    def _finding(
        self,
        kind: str,
        worker: str,
        what: str,
        *,
        colour: str = RED,
        exact: bool = True,
        row: OpenConnection | None = None,
        requests: Sequence[str] = (),
    ) -> HarmFinding:
        """From a census; ``row`` is the connection that it is about, left by who was hit."""
        sure = row is None or not row.unsure
        return HarmFinding(
            kind=kind,
            perturbation=self._step.name,
            colour=colour if sure else AMBER,
            what=what,
            evidence="census",
            exact=exact and sure,
            backend=self._backend,
            worker=worker,
            connection=row.local if row else "",
            requests=tuple(requests[:MOST_NAMED]),
            hit_by=self._hit_by(row) if row else "",
        )


def floor(timeline: Timeline, backend: str) -> int:
    """How many connections to ``backend`` the app's pools open by themselves, 0 if none.

    More were open before the load began than requests had ever run at once, and the same ones
    still were at the end of the control run: what jobs open at the start is no pool's, nor is
    a pool's what jobs go on to use.
    """
    warm_up, steady = timeline.find("warmup"), timeline.find("steady")
    found = 0
    for worker, census in (warm_up.censuses if warm_up else {}).items():
        kept = {row.local for row in census.connections if row.backend == backend}
        later = steady.censuses.get(worker) if steady is not None else None
        if later is not None:
            kept &= {row.local for row in later.connections}
        count = len(kept)
        if count <= max(found, 1) or count <= _at_once(timeline, worker, census.at):
            continue
        if later is None or not _are_of_jobs(timeline, kept, census.at, later.at):
            found = count
    return found


def _are_of_jobs(timeline: Timeline, kept: set[str], since: float, until: float) -> bool:
    """Whether something else than a request has changed data on one of the connections ``kept``.

    Jobs have opened them, then, as requests would have: their pool opens none by itself.
    """
    changing = [
        exchange
        for exchange in timeline.changing
        if exchange.client in kept and since < exchange.at < until
    ]
    if not changing:
        return False  # and most of the time: the rest takes a look at all requests of the run
    used: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for request in timeline.requests.values():
        for send in request.sends:
            span = request.began - MARGIN, request.began + request.duration + MARGIN
            used[send.local].append(span)
    return any(
        not any(begin <= exchange.at <= end for begin, end in used[exchange.client])
        for exchange in changing
    )


def _at_once(timeline: Timeline, worker: str, until: float, since: float = 0.0) -> int:
    """The most requests of ``worker`` that ran at the same time between ``since`` and ``until``."""
    changes = []
    for request in timeline.requests.values():
        end = request.began + request.duration
        if request.began < until and end >= since and worker_of(request.request) == worker:
            changes += [(request.began, 1), (end, -1)]
    most = running = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


def _each(timeline: Timeline, worker: str) -> int:
    """The most connections to one backend that one request has used."""
    return max(
        (
            max(Counter(used.backend for used in request.sends).values())
            for request in timeline.requests.values()
            if request.sends and worker_of(request.request) == worker
        ),
        default=1,
    )


def _slope(requests: list[RequestEnded]) -> float | None:
    sizes = [request.rss / 1e6 for request in requests if request.rss is not None]
    if len(sizes) < TELLING:
        return None
    return linear_regression(range(len(sizes)), sizes).slope * 100


def _cpu(requests: list[RequestEnded], timeline: Timeline, worker: str) -> float | None:
    usual = [
        request.cpu
        for request in timeline.steady_requests
        if request.cpu is not None and worker_of(request.request) == worker
    ]
    now = [request.cpu for request in requests if request.cpu is not None]
    if min(len(now), len(usual)) < TELLING or not fmean(usual):
        return None
    return fmean(now) / fmean(usual)
