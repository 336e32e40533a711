"""Harm: what a perturbation did beyond the requests that it hit, read from a timeline.

``Harmed`` knows what the workers have told of single connections; ``pools`` compares the
censuses before and after. Each finding says how it is known. What follows from counting
alone is said to be so only where no healthy pool could give the same count:

lost    a pool that opens connections before any request needs them, and did not open all of
        them again: fewer are open than at the start, ``pool_seconds`` after the aftershock,
        though it has opened some by itself (one that waits for requests may open the rest
        when they come); or requests that still fail without having got a connection
leaked  more connections stay open than requests ever ran at once; or one stays open and
        unused while its own route opens another, or gets none, which no pool does to its
        users that still has it
died    a worker that ended without a goodbye, or that its server told to exit while it worked
        on a request, as servers do whose workers time out
hang    a request that runs on when the perturbation has been over for its whole deadline
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean, linear_regression

from seism.journal import DIED as DIED_ALONE
from seism.journal import OUT_OF_MEMORY
from seism.verdict.result import AMBER, GREEN, RED, Harm, Pool
from seism.verdict.timeline import Segment, Timeline, name
from seism_middleware import contract
from seism_middleware.contract import Attribution, Census, OpenConnection, RequestEnded

CROSSTALK, WRONG, ABANDONED, LEAKED, LOST, HANG, DIED = (
    "crosstalk", "wrong data", "abandoned", "leaked", "lost", "hang", "died",
)  # fmt: skip
MARGIN = 0.1
"""Seconds: what follows closer than this on the end of a request may overlap with it."""
MOST = 20
"""Requests named in one finding."""


class Harmed:
    """What the workers have told of replies that came to the wrong request."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._of: dict[str, contract.Harm] = {}
        for harm in timeline.harms:
            if harm.what != ABANDONED:
                known = self._of.get(harm.request)
                if known is None or (harm.exact and not known.exact):
                    self._of[harm.request] = harm

    def reason(self, request: str) -> str:
        """Why ``request`` got wrong data for certain, one line; empty if it did not."""
        harm = self._of.get(request)
        return told(harm) if harm is not None and harm.exact else ""

    def attribution(self, request: str, records: Mapping[str, object]) -> Attribution | None:
        """To the perturbation, one of ``records``, that the wrong reply can be traced back to.

        The reply was that of another request, which may have been harmed in the same way.
        """
        harm = self._of.get(request)
        exact, seen = True, set()
        while harm is not None and harm.request not in seen:
            seen.add(harm.request)
            exact = exact and harm.exact
            attributions = self._timeline.attributions.get(harm.other, ())
            for attribution in sorted(attributions, key=lambda attribution: not attribution.exact):
                if attribution.perturbation in records:
                    exact = exact and attribution.exact
                    return Attribution(
                        attribution.perturbation, request, "ledger", exact, "harmed", "bytes"
                    )
            harm = self._of.get(harm.other)
        return None

    def findings(
        self, requests: Iterable[RequestEnded], step: str, records: Mapping[str, object]
    ) -> Iterator[Harm]:
        """What became of ``requests``, those of one step, by connection."""
        mine = {request.request for request in requests}
        found: dict[tuple[str, str, str, bool], list[contract.Harm]] = defaultdict(list)
        for harm in (*self._of.values(), *self._timeline.harms):
            if harm.request in mine and (harm.what == ABANDONED or self._of[harm.request] is harm):
                rows = found[harm.what, harm.backend, harm.local, harm.exact]
                if all(harm.request != row.request for row in rows):
                    rows.append(harm)
        for (what, backend, local, exact), rows in found.items():
            ids = tuple(row.request for row in rows)
            cause = next(
                (attribution for key in ids if (attribution := self.attribution(key, records))),
                None,
            )
            hit_by = rows[0].perturbation or (cause.perturbation if cause else "")
            kind = WRONG if what == "sentinel" else what
            yield Harm(
                kind=kind,
                perturbation=step,
                colour=RED if exact and what != ABANDONED else GREEN,
                what=_summed(kind, rows) + (f", since {hit_by}" if hit_by else ""),
                evidence="sentinel" if kind == WRONG else "ledger",
                exact=exact,
                backend=backend,
                worker=ids[0].rpartition("-")[0],
                connection=local,
                requests=ids[:MOST],
                hit_by=hit_by,
            )


def told(harm: contract.Harm) -> str:
    """Why its request got wrong data, one line; of a harm that is not an abandoned reply."""
    of = f"of request {harm.other}" if harm.other else "of another user of the connection"
    if harm.what == "sentinel":
        return f"wrong data: a value came back that the app had marked as that {of}"
    return f"wrong data: it was answered with a reply to the question {of} ({_where(harm)})"


def _where(harm: contract.Harm) -> str:
    return f"connection {harm.local} to {harm.backend}"


def _summed(kind: str, rows: list[contract.Harm]) -> str:
    ids = _listed([row.request for row in rows])
    if kind == WRONG:
        return f"{ids} got values that the app had marked as another request's"
    if kind == ABANDONED:
        return (
            f"{ids} ended before the reply had come, and left {_where(rows[0])} open, "
            "with that reply outstanding"
        )
    sure = "" if rows[0].exact else "possibly "
    others = _listed(sorted({row.other for row in rows if row.other})) or "no request's"
    return (
        f"{ids} {'were' if len(rows) > 1 else 'was'} {sure}answered with replies to earlier "
        f"questions, those of {others}, on {_where(rows[0])}"
    )


def _listed(ids: list[str], most: int = 5) -> str:
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return f"{', '.join(ids[:most])}{more}"


def deaths(
    timeline: Timeline, step: str, during: Segment, after: Segment, records: Mapping[str, object]
) -> Iterator[Harm]:
    """The workers that died in one step."""
    requests = [*during.requests, *after.requests]
    last = timeline.segments[-1].phase
    end = next((s.phase.at for s in timeline.segments if s.phase.at > after.phase.at), last.at)
    for worker, left in timeline.left.items():
        if left.reason not in (DIED_ALONE, OUT_OF_MEMORY) or not during.phase.at <= left.at < end:
            continue
        how = "was killed for lack of memory" if left.reason == OUT_OF_MEMORY else "died"
        yield _death(timeline, step, worker, how, [
            request for request in requests
            if _worker(request.request) == worker and request.body == contract.BODY_NONE
        ], records)  # fmt: skip
    timed_out: dict[str, list[RequestEnded]] = defaultdict(list)
    for request in requests:
        if request.exception == "SystemExit":
            timed_out[_worker(request.request)].append(request)
    for worker, victims in timed_out.items():
        how = "was told to exit by its server, as one is that has timed out,"
        yield _death(timeline, step, worker, how, victims, records)


def _death(
    timeline: Timeline, step: str, worker: str, how: str, victims: list[RequestEnded],
    records: Mapping[str, object],
) -> Harm:  # fmt: skip
    ids = [request.request for request in victims]
    attributions = [
        k for key in ids for k in timeline.attributions.get(key, ()) if k.perturbation in records
    ]
    attribution = min(attributions, key=lambda attribution: not attribution.exact, default=None)
    pid = next((hello.pid for hello in timeline.workers if hello.worker == worker), 0)
    at = f" while it worked on {_listed(ids)}" if ids else " while it was idle"
    since = f", hit by {attribution.perturbation}" if attribution else ""
    return Harm(
        DIED, step, RED, f"worker {worker} (pid {pid}) {how}{at}{since}",
        attribution.evidence if attribution else "stream", True,
        worker=worker, requests=tuple(ids[:MOST]),
        hit_by=attribution.perturbation if attribution else "",
    )  # fmt: skip


class Pools:
    """The connections of each worker to one backend, over one step."""

    def __init__(
        self,
        timeline: Timeline,
        step: Mapping[str, object],
        before: Segment,
        during: Segment,
        after: Segment,
    ) -> None:
        self._timeline = timeline
        self._step = str(step["name"])
        self._backend = str(step["backend"])
        self._before, self._during, self._after = before, during, after
        self._floor = floor(timeline, self._backend)

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

    def findings(
        self,
        attributions: Mapping[str, list[Attribution]],
        deadline: Mapping[str, float],
        within: Mapping[str, int],
        allowed: int,
    ) -> Iterator[Harm]:
        """``attributions`` of this step by request; ``deadline`` in seconds, and the
        requests ``within`` which it may recover, of each route of the control run; ``allowed``
        connections that may stay behind.
        """
        for worker, certain in self.missing().items():
            count = self._floor - len(self._rows(self._after.censuses[worker]))
            yield self._harm(
                LOST, RED if certain else GREEN, worker,
                f"{count} of the {self._floor} connections that the pool of worker {worker} keeps "
                f"to {self._backend} were not opened again", exact=certain,
            )  # fmt: skip
        for worker, census in self._after.censuses.items():
            yield from self._starved(worker, census, attributions, within)
            yield from self._grown(worker, census, allowed)
            yield from self._superseded(worker, census, attributions, allowed)
            yield from self._hanging(worker, census, attributions, deadline)

    def summary(self) -> Iterator[Pool]:
        """Before and after, of each worker."""
        for worker, census in self._after.censuses.items():
            earlier = self._before.censuses.get(worker)
            if earlier is None:
                continue
            mine = [r for r in self._after.requests if _worker(r.request) == worker]
            meanwhile = self._during.censuses.get(worker)
            seconds, place = self._recovery(mine, len(earlier.connections), census)
            yield Pool(
                self._step,
                worker,
                self._backend,
                len(self._rows(earlier)),
                len(self._rows(meanwhile)) if meanwhile else None,
                len(self._rows(census)),
                seconds,
                place,
                _slope(mine),
                _cpu(mine, self._timeline, worker),
            )

    def _recovery(
        self, requests: list[RequestEnded], before: int, census: Census
    ) -> tuple[float | None, int | None]:
        """When, and after how many requests, as many connections were open as before, for good."""
        since: tuple[float, int] | None = None
        began = self._after.phase.at
        for place, request in enumerate(requests, 1):
            if request.connections is None:
                continue
            if request.connections < before:
                since = None
            elif since is None:
                since = (max(0.0, request.began + request.duration - began), place)
        if since is None and len(census.connections) >= before:
            since = (max(0.0, census.at - began), len(requests))
        return since or (None, None)

    def _grown(self, worker: str, census: Census, allowed: int) -> Iterator[Harm]:
        """Pigeonhole: a pool has no use for more connections than requests ever ran at once."""
        opened = [row for row in self._rows(census) if row.opener is not None]
        earlier = self._before.censuses.get(worker)
        most = _at_once(self._timeline, worker, census.at) * _each(self._timeline, worker)
        grew = earlier is not None and len(opened) > len(self._rows(earlier))
        spare = len(opened) - max(most, self._floor)
        if grew and spare > allowed:
            users = sorted({row.user for row in opened if row.user})
            yield self._harm(
                LEAKED, RED, worker,
                f"worker {worker} holds {len(opened)} connections to {self._backend}, and no more "
                f"than {most} can ever have been in use at once",
                requests=tuple(users),
            )  # fmt: skip

    def _superseded(
        self,
        worker: str,
        census: Census,
        attributions: Mapping[str, list[Attribution]],
        allowed: int,
    ) -> Iterator[Harm]:
        """Open and idle, while its own route opened another: no pool has it any more."""
        rows = self._rows(census)
        found = [row for row in rows if self._is_superseded(row, rows, attributions)]
        for row in found:
            attribution = attributions[row.user or ""][0]
            yield self._harm(
                LEAKED, RED if len(found) > allowed else AMBER, worker,
                f"connection {row.local} to {self._backend} stays open, unused since request "
                f"{row.user}, while others were opened in its place, since "
                f"{attribution.perturbation}",
                row.local, (row.user or "",), attribution.perturbation,
            )  # fmt: skip

    def _is_superseded(
        self,
        row: OpenConnection,
        rows: list[OpenConnection],
        attributions: Mapping[str, list[Attribution]],
    ) -> bool:
        user = self._timeline.requests.get(row.user or "")
        if user is None or row.in_use or user.request not in attributions:
            return False
        idle = max(user.began + user.duration, self._after.phase.at) + MARGIN
        openers = (self._timeline.requests.get(other.opener or "") for other in rows)
        return any(
            opener is not None and opener.began > idle and name(opener) == name(user)
            for opener in openers
        )

    def _starved(
        self,
        worker: str,
        census: Census,
        attributions: Mapping[str, list[Attribution]],
        within: Mapping[str, int],
    ) -> Iterator[Harm]:
        """Requests that fail to the end, and have asked the backend nothing."""
        users = {name(r) for r in self._steady() if self._asked(r)}
        found = []
        for route, requests in self._after.by_route().items():
            if route in users:
                found += [
                    request.request
                    for request in requests[within.get(route, 0) :]
                    if (request.status or 500) >= 500
                    and not self._asked(request)
                    and _worker(request.request) == worker
                ]
        if not found:
            return
        rows = self._rows(census)
        idle = [row for row in rows if not row.in_use and row.user in attributions]
        told = f"{_listed(found)} got no connection to {self._backend}"
        for row in idle:
            yield self._harm(
                LEAKED, RED, worker,
                f"{told}, while connection {row.local} stays open, unused since request "
                f"{row.user}, since {attributions[row.user or ''][0].perturbation}",
                row.local, (row.user or "", *found), attributions[row.user or ""][0].perturbation,
            )  # fmt: skip
        if not idle:
            yield self._harm(
                LOST, GREEN, worker,
                f"{told}, of which {len(rows)} are open: places of its pool may be lost",
                requests=tuple(found), exact=False,
            )  # fmt: skip

    def _asked(self, request: RequestEnded) -> bool:
        return any(used.backend == self._backend for used in request.sends)

    def _steady(self) -> list[RequestEnded]:
        steady = self._timeline.find("steady")
        return steady.requests if steady else []

    def _hanging(
        self,
        worker: str,
        census: Census,
        attributions: Mapping[str, list[Attribution]],
        deadline: Mapping[str, float],
    ) -> Iterator[Harm]:
        for request in (*self._during.requests, *self._after.requests):
            route = name(request)
            limit = deadline.get(route, math.inf)  # it may run for long at all times
            over = max(request.began, self._after.phase.at)
            if (
                _worker(request.request) != worker
                or request.began + request.duration <= census.at
                or census.at - over <= limit
            ):
                continue
            used = [r for r in self._rows(census) if r.user == request.request and r.in_use]
            on = (
                f"on connection {used[-1].local} to {self._backend}"
                if used
                else f"without a connection to {self._backend}"
            )
            attribution = min(
                attributions.get(request.request, ()), key=lambda k: not k.exact, default=None
            )
            yield Harm(
                HANG, self._step, RED,
                f"request {request.request} ({route}) ran on for {census.at - over:.1f} s after "
                f"the perturbation was over, {on}",
                attribution.evidence if attribution else "census",
                bool(attribution and attribution.exact), self._backend,
                worker, used[-1].local if used else "", (request.request,),
                attribution.perturbation if attribution else "",
            )  # fmt: skip

    def _rows(self, census: Census) -> list[OpenConnection]:
        return [row for row in census.connections if row.backend == self._backend]

    def _harm(
        self,
        kind: str,
        colour: str,
        worker: str,
        what: str,
        connection: str = "",
        requests: tuple[str, ...] = (),
        hit_by: str = "",
        exact: bool = True,
    ) -> Harm:
        return Harm(
            kind, self._step, colour, what, "census", exact, self._backend, worker, connection,
            requests[:MOST], hit_by,
        )  # fmt: skip


def floor(timeline: Timeline, backend: str) -> int:
    """How many connections to ``backend`` the app's pools open by themselves, 0 if none.

    More were open before the load began than requests had ever run at once.
    """
    warm_up = timeline.find("warmup")
    found = 0
    for worker, census in (warm_up.censuses if warm_up else {}).items():
        count = sum(row.backend == backend for row in census.connections)
        if count > max(1, _at_once(timeline, worker, census.at)):
            found = max(found, count)
    return found


def _worker(request: str) -> str:
    return request.rpartition("-")[0]


def _at_once(timeline: Timeline, worker: str, until: float) -> int:
    """The most requests of ``worker`` that ran at the same time before ``until``."""
    changes = []
    for request in timeline.requests.values():
        if request.began < until and _worker(request.request) == worker:
            changes += [(request.began, 1), (request.began + request.duration, -1)]
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
            if request.sends and _worker(request.request) == worker
        ),
        default=1,
    )


def _slope(requests: list[RequestEnded]) -> float | None:
    sizes = [request.rss / 1e6 for request in requests if request.rss is not None]
    if len(sizes) < 2:
        return None
    return linear_regression(range(len(sizes)), sizes).slope * 100


def _cpu(requests: list[RequestEnded], timeline: Timeline, worker: str) -> float | None:
    steady = timeline.find("steady")
    usual = [
        request.cpu
        for request in (steady.requests if steady else ())
        if request.cpu is not None and _worker(request.request) == worker
    ]
    now = [request.cpu for request in requests if request.cpu is not None]
    return fmean(now) / fmean(usual) if now and usual and fmean(usual) > 0 else None
