"""The verdict engine: a pure function from a journal to a Judgement.

The rules, in the order in which they are asked (``Rules`` has the figures):

red    no response; a truncated body; wrong data: a reply to another request's question; 500
       or another 5xx than 503 that is not allowed; a 4xx that the control run never gave;
       after the perturbation ended and ``recover_within`` requests passed: anything that is
       not as in the control run; connections or memory that stay behind, connections that
       are lost, requests that hang (``harm``); an action that was done twice or never
amber  503 without Retry-After, or with a log that does not tell of it as it should
       (``log_quality``); slower than the deadline; a retry storm, which from some size on
       is red (``retry_storm``)
green  everything else

A cell is not covered where no perturbation touched the route (an attribution says so), and
where the route was still broken from an earlier perturbation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from seism import options
from seism.journal import Entry, Phase
from seism.model import DOWN
from seism.verdict import log_quality
from seism.verdict import steady as steadiness
from seism.verdict.harm import LEAKED, Harmed, Pools, deaths
from seism.verdict.request import failure, judged
from seism.verdict.result import (
    AMBER,
    EARLIER,
    GREEN,
    NOT_COVERED,
    RED,
    SEVERITY,
    Case,
    Cell,
    Harm,
    Judgement,
    Pool,
    Steady,
)
from seism.verdict.retry_storm import Storms
from seism.verdict.rules import Rules
from seism.verdict.timeline import Segment, Timeline, build, load_route, name
from seism_middleware.contract import (
    BODY_NONE,
    BODY_TRUNCATED,
    Attribution,
    LoggedError,
    OpenConnection,
    PerturbationBegan,
    RequestEnded,
)

Opinion = tuple[str, str]
"""(colour, reason) of one request."""
FINE: Opinion = (GREEN, "")
UNKNOWN = "unknown"
JUDGED = ("steady", "during", "after", "mixed")
CERTAIN = 3
"""So many requests that were hit, all of them wrong, are no coincidence."""


def judge(entries: Iterable[Entry]) -> Judgement:
    """Judge one run by the rules in its manifest.

    Raises ConfigurationError if ``entries`` do not begin with a manifest.
    """
    timeline = build(entries)
    rules = options.build(Rules, timeline.manifest.rules or {}, "manifest: rules")
    plan = [dict(step) for step in timeline.manifest.plan]
    harmed = Harmed(timeline)
    control = _Control(timeline, rules, harmed)
    steady = control.verdict()
    cells: list[Cell] = []
    cases: list[Case] = []
    findings = list(_actions(timeline.find("steady"), "without any perturbation"))
    harms: list[Harm] = []
    misses: list[str] = []
    pools: list[Pool] = []
    never_fired: list[str] = []
    broken: dict[str, str] = {}
    if steady.met:
        for index, step in enumerate(plan):
            judged = _Step(timeline, control, rules, index, step)
            if not judged.ran:
                continue
            if timeline.find("warmup", index):
                broken = {}  # the app was started anew
            cells += judged.cells(broken)
            cases += [case for case in judged.cases() if case.route not in broken]
            findings += judged.findings()
            misses += judged.log_misses()
            harms += judged.harms()
            pools += judged.pools.summary()
            if not judged.fired:
                never_fired.append(step["name"])
            broken = judged.still_broken(broken)
    flaky = steadiness.flaky(timeline, failure, broken)
    findings += steadiness.damaged(timeline, failure, broken)
    if steady.met:
        findings += (
            f"after all perturbations {unmet}"
            for unmet in steadiness.unmet(timeline.find("control"), rules)
        )
    cells = [_not_blamed(cell, flaky.get(cell.route)) for cell in cells]
    unsure = {(c.route, c.perturbation) for c in cells if c.route in flaky and not c.worst}
    cases = [case for case in cases if (case.route, case.perturbation) not in unsure]
    findings += _of_all(timeline, plan) if steady.met else ()
    if timeline.stopped:
        findings.append(f"the run was stopped: {timeline.stopped}")
    elif not timeline.complete:
        findings.append("the run ended before its plan did")
    cases.sort(key=lambda case: (-SEVERITY[case.colour], not case.exact, -case.duration))
    harms.sort(key=lambda harm: (-SEVERITY[harm.colour], not harm.exact))
    colours = [cell.colour for cell in cells] + [RED] * bool(findings)
    colours += [harm.colour for harm in harms if harm.colour != GREEN]
    return Judgement(
        seed=timeline.manifest.seed,
        plan=plan,
        colour=max(colours, key=SEVERITY.__getitem__, default=NOT_COVERED),
        steady=steady,
        routes=tuple(sorted(control.routes)),
        perturbations=tuple(step["name"] for step in plan),
        cells=tuple(cells),
        cases=tuple(cases),
        findings=tuple(findings),
        harms=tuple(harms),
        pools=tuple(pools),
        never_fired=tuple(never_fired),
        dropped=_dropped(timeline),
        warnings=(
            *map(str, flaky.values()),
            *_warnings(timeline),
            *_unjudged(timeline, plan),
            *misses,
        ),
        flaky=tuple(map(str, flaky.values())),
    )


class _Control:
    """What the run without perturbations showed: the steady state."""

    def __init__(self, timeline: Timeline, rules: Rules, harmed: Harmed) -> None:
        self.harmed = harmed
        self.timeline = timeline
        self.given = rules
        self.storms = Storms(timeline, rules)
        self.segment = timeline.find("steady")
        requests = self.segment.by_route() if self.segment else {}
        judged = [s for s in timeline.segments if s.phase.phase in JUDGED]
        # A route that shows only under a perturbation (a failure before the routing, say)
        # is judged too, just without anything to compare it with.
        self.routes = sorted({name(r) for segment in judged for r in segment.requests})
        self.statuses = {
            route: {request.status for request in requests.get(route, ())} for route in self.routes
        }
        self.p99 = {
            route: _quantile([request.duration for request in seen], 0.99)
            for route, seen in requests.items()
        }
        self.rules = {route: rules.of(route) for route in self.routes}
        self.deadline = {
            route: max(self.rules[route].deadline, rules.deadline_factor * self.p99.get(route, 0.0))
            for route in self.routes
        }

    def verdict(self) -> Steady:
        requests = self.segment.requests if self.segment else []
        reason = self._objection(requests)
        return Steady(not reason, reason, len(requests), self.p99, self.deadline)

    def _objection(self, requests: Sequence[RequestEnded]) -> str:
        load = self.segment.load if self.segment else None
        if not requests and load is not None and load.requests:
            return (
                f"{load.requests} requests were sent and no observation arrived: is the app "
                "wrapped by the middleware, and does it find the sidecar (SEISM_SIDECAR)?"
            )
        if not requests:
            return "no request was observed in the control run"
        flaky = steadiness.flaky(self.timeline, failure)
        if flaky.keys() >= {name(request) for request in requests}:
            flaky = {}  # nobody is steady
        bad = Counter(
            f"{name(request)}: {failed}"
            for request in requests
            if name(request) not in flaky
            and (failed := failure(request) or self.harmed.reason(request.request))
        )
        if not bad:
            unmet = next(steadiness.unmet(self.segment, self.given), "")
            return unmet or self._unreached()
        worst, count = bad.most_common(1)[0]
        more = f", and {len(bad) - 1} more kinds of failure" if len(bad) > 1 else ""
        return f"without any perturbation {worst} ({count} times{more})"

    def _unreached(self) -> str:
        backends = steadiness.unreached(self.timeline)
        if not backends:
            return ""
        return (
            f"nothing was sent to {' and '.join(backends)} in the control run: does the app "
            "connect to the proxy, and does a route of the load need it?"
        )


class _Step:
    """One planned perturbation: its time, and the aftershock."""

    def __init__(
        self, timeline: Timeline, control: _Control, rules: Rules, index: int, step: dict[str, Any]
    ) -> None:
        self.timeline = timeline
        self.control = control
        self.rules = rules
        self.step = step
        self.name: str = step["name"]
        during, after = timeline.find("during", index), timeline.find("after", index)
        self.ran = during is not None and after is not None
        self.during = during or _nothing()
        self.after = after or _nothing()
        self.before = timeline.before(index) or _nothing()
        # Two at the same time, in a pair of a sweep.
        parts = [part for part in (step, step.get("partner")) if part]
        self.parts = [(part["backend"], part["toxic"]) for part in parts]
        self.records = {
            record.perturbation: record
            for segment in (self.during, self.after)
            for record in segment.perturbations
            if (record.proxy, record.toxic) in self.parts
        }
        self.pools = Pools(timeline, step, self.before, self.during, self.after)
        self._opinions = self._judge_requests()
        self._leaks = self._find_leaks()

    @property
    def fired(self) -> bool:
        """Whether it had an effect: on bytes, or, for a dead backend, on a connect."""
        attributed = {
            attribution.perturbation
            for attributions in self.timeline.attributions.values()
            for attribution in attributions
        }
        had = {
            (record.proxy, record.toxic)
            for record in self.records.values()
            if record.type != DOWN or record.client or record.perturbation in attributed
        }
        return had == set(self.parts)

    @property
    def _backend(self) -> str:
        """Which one an error in the log should name; empty where there are two."""
        return self.parts[0][0] if len(set(dict(self.parts))) == 1 else ""

    def cells(self, broken: Mapping[str, str]) -> list[Cell]:
        return [self._cell(route, broken.get(route)) for route in self.control.routes]

    def cases(self) -> list[Case]:
        return [self._case(*item) for item in self._opinions if item[2][0] != GREEN]

    def harms(self) -> list[Harm]:
        """What it did beyond the requests that it hit."""
        requests = [*self.during.requests, *self.after.requests]
        attributions = {r.request: found for r in requests if (found := self._attributions(r))}
        allowed = self.rules.connections_growth
        usual = [route for route in self.control.routes if route in self.control.p99]
        deadline = {route: self.control.deadline[route] for route in usual}
        within = {route: self.control.rules[route].recover_within for route in usual}
        return [
            *self.control.harmed.findings(requests, self.name, self.records),
            *self.pools.findings(attributions, deadline, within, allowed),
            *self._left_behind(allowed),
            *deaths(self.timeline, self.name, self.during, self.after, self.records),
        ]

    def log_misses(self) -> Iterator[str]:
        """What the log does not tell as it should of the requests that were hit, and failed."""
        failed = [
            request
            for request, _, _ in self._opinions
            if (request.status or 0) >= 500 and self._exact(request)
        ]
        return log_quality.told(failed, self._backend, self.name)

    def findings(self) -> list[str]:
        """What concerns whole workers, requests that no worker saw, or actions."""
        found = [
            *_actions(self.during, f"{self.name}: during it"),
            *_actions(self.after, f"{self.name}: after it"),
        ]
        for worker, census in self.after.censuses.items():
            earlier = self.before.censuses.get(worker)
            if earlier is None or earlier.rss is None or census.rss is None:
                continue
            grown = (census.rss - earlier.rss) / 1e6
            if grown > self.rules.memory_growth_mb:
                found.append(
                    f"{self.name}: the memory of worker {worker} grew by {grown:.0f} MB "
                    f"(allowed: {self.rules.memory_growth_mb:g} MB)"
                )
        for segment, when in ((self.during, "during"), (self.after, "after")):
            unseen = _unseen(segment)
            # What is cut on the clients' side may never reach the app, and is not its fault.
            if unseen and not self.step.get("front"):
                found.append(
                    f"{self.name}: {when} it {unseen} requests got no response, "
                    "and no worker ever saw them"
                )
            late = _given_up(segment, unseen)
            if late and not self.step.get("front"):
                found.append(
                    f"{self.name}: {when} it {late} requests got no response: their clients had "
                    "given up when it came"
                )
        return found

    def still_broken(self, before: Mapping[str, str]) -> dict[str, str]:
        """Routes whose last requests of the aftershock were still bad -> since which step."""
        broken = {} if self.after.requests else dict(before)
        for route, requests in self.after.by_route().items():
            if not self._as_steady(requests[-1]):
                broken[route] = before.get(route, self.name)
        return broken

    def _judge_requests(self) -> list[tuple[RequestEnded, str, Opinion]]:
        judged = []
        for requests in self.during.by_route().values():
            judged += [(request, "during", self._during(request)) for request in requests]
        for requests in self.after.by_route().values():
            judged += [
                (request, "after", self._after(request, place))
                for place, request in enumerate(requests, 1)
            ]
        return judged

    def _during(self, request: RequestEnded) -> Opinion:
        if self._cut_off(request):
            return FINE
        route = name(request)
        rules, deadline = self.control.rules[route], self.control.deadline[route]
        sees_logs = self.timeline.sees_logs
        opinion = judged(request, rules, deadline, self._backend, sees_logs=sees_logs)
        for backend in (
            {backend for backend, _ in self.parts} if self._attributions(request) else ()
        ):
            storm = self.control.storms.opinion(request, backend)
            if SEVERITY[storm[0]] > SEVERITY[opinion[0]]:
                opinion = storm
        harm = self.control.harmed.reason(request.request)
        if opinion[0] == RED or harm:
            return RED, opinion[1] if opinion[0] == RED else harm
        if (request.status or 0) < 500 and not self._usual(request):
            return RED, f"{request.status}, which the control run never gave"
        return opinion

    def _cut_off(self, request: RequestEnded) -> bool:
        """Whether it is its client's line that was perturbed, so that it had nobody to answer."""
        broken = request.body in (BODY_NONE, BODY_TRUNCATED)
        return broken and bool(self.step.get("front")) and self._exact(request)

    def _after(self, request: RequestEnded, place: int) -> Opinion:
        if self._as_steady(request):
            return FINE
        opinion = self._during(request)
        within = self.control.rules[name(request)].recover_within
        if opinion[0] == RED or place <= within:
            return opinion
        what = opinion[1] or str(request.status)
        return RED, f"not recovered: still {what} more than {within} requests after the end"

    def _as_steady(self, request: RequestEnded) -> bool:
        return (
            self._usual(request)
            and request.body not in (BODY_NONE, BODY_TRUNCATED)
            and not self.control.harmed.reason(request.request)
            and request.duration <= self.control.deadline[name(request)]
        )

    def _usual(self, request: RequestEnded) -> bool:
        """2xx, 3xx, or a status that the control run gave, too."""
        if request.status is None:
            return False
        return request.status < 400 or request.status in self.control.statuses[name(request)]

    def _cell(self, route: str, broken_since: str | None) -> Cell:
        mine = [item for item in self._opinions if name(item[0]) == route]
        attributions = {request.request: self._attributions(request) for request, _, _ in mine}
        exact = sum(
            any(attribution.exact for attribution in found) for found in attributions.values()
        )
        hit = [opinion for request, _, opinion in mine if self._exact(request)]
        possible = sum(
            bool(found) and not any(attribution.exact for attribution in found)
            for found in attributions.values()
        )
        colour, reasons, worst = self._colour(route, mine, covered=bool(exact or possible))
        if broken_since is not None:
            colour, worst = NOT_COVERED, None
            reasons = (f"still broken since {broken_since}",)
        return Cell(
            route=route,
            perturbation=self.name,
            colour=colour,
            reasons=reasons,
            requests=len(mine),
            exact=exact,
            possible=possible,
            worst=worst,
            certain=self._certain(route, hit),
        )

    def _certain(self, route: str, hit: Sequence[Opinion]) -> bool:
        """Whether what went wrong is no coincidence, however flaky the route is."""
        last = self.after.by_route().get(route, [])[-CERTAIN:]
        return (
            (len(hit) >= CERTAIN and FINE not in hit)
            or (len(last) == CERTAIN and not any(map(self._as_steady, last)))
            or len(self._leaks.get(route, [])) > self.rules.connections_growth
        )

    def _colour(
        self, route: str, mine: list[tuple[RequestEnded, str, Opinion]], covered: bool
    ) -> tuple[str, tuple[str, ...], Case | None]:
        bad = [item for item in mine if item[2][0] != GREEN]
        bad.sort(key=lambda item: (-SEVERITY[item[2][0]], not self._exact(item[0])))
        reasons = list(dict.fromkeys(opinion[1] for _, _, opinion in bad))
        colour = bad[0][2][0] if bad else GREEN
        worst = self._case(*bad[0]) if bad else None
        leaked = self._leaks.get(route, [])
        if len(leaked) > self.rules.connections_growth:
            colour = RED
            reasons.insert(0, f"{len(leaked)} backend connections of its failed requests stay open")
            worst = self._case(leaked[0][0], "during", (RED, reasons[0]))
        if not mine:
            return NOT_COVERED, ("no request of it was observed",), None
        wrong = [*self._wrong_actions(route, self.during), *self._wrong_actions(route, self.after)]
        if wrong:
            colour, reasons = RED, [*wrong, *reasons]
            hit = next((item[0] for item in mine if self._exact(item[0])), mine[0][0])
            worst = self._case(hit, "during", (RED, wrong[0]))
        if colour == GREEN and not covered:
            return NOT_COVERED, ("the perturbation did not touch it",), None
        return colour, tuple(reasons), worst

    def _wrong_actions(self, route: str, segment: Segment) -> list[str]:
        actions = (segment.load.actions if segment.load else None) or {}
        sent = load_route(route, actions)
        return [what for key, what in _miscounted(actions[sent]) if key != UNKNOWN] if sent else []

    def _left_behind(self, allowed: int) -> Iterator[Harm]:
        for route, leaked in self._leaks.items():
            if len(leaked) > allowed:
                for request, left in leaked:
                    hit_by = self._attributions(request)[0].perturbation
                    yield Harm(
                        LEAKED, self.name, RED,
                        f"connection {left.local} to {left.backend} stays open, unused since "
                        f"request {request.request} ({route}) failed on it, since {hit_by}",
                        "census", True, left.backend, request.request.rpartition("-")[0],
                        left.local, (request.request,), hit_by,
                    )  # fmt: skip

    def _find_leaks(self) -> dict[str, list[tuple[RequestEnded, OpenConnection]]]:
        """Route -> its requests that left a connection behind, open after the aftershock.

        Left behind: it was perturbed, the request that it was perturbed for has failed, and
        nobody has used it since. A pool would have closed it, or used it again.
        """
        perturbed = {record.client for record in self.records.values() if record.client}
        leaks: dict[str, list[tuple[RequestEnded, OpenConnection]]] = {}
        for census in self.after.censuses.values():
            for connection in census.connections:
                request = self.timeline.requests.get(connection.user or "")
                if request is None or connection.in_use or self._usual(request):
                    continue
                if connection.local in perturbed and self._attributions(request):
                    leaks.setdefault(name(request), []).append((request, connection))
        return leaks

    def _attributions(self, request: RequestEnded) -> list[Attribution]:
        attributions = self.timeline.attributions.get(request.request, ())
        return [
            attribution for attribution in attributions if attribution.perturbation in self.records
        ]

    def _exact(self, request: RequestEnded) -> bool:
        return any(attribution.exact for attribution in self._attributions(request))

    def _case(self, request: RequestEnded, phase: str, opinion: Opinion) -> Case:
        attribution = min(self._attributions(request), key=_preference, default=None)
        if attribution is None or self.control.harmed.reason(request.request):
            attribution = (
                self.control.harmed.attribution(request.request, self.records) or attribution
            )
        attribution = attribution or self._overlap(request)
        if attribution is None and phase == "after":
            attribution = self._earlier(name(request))
        return Case(
            request=request.request,
            route=name(request),
            perturbation=self.name,
            phase=phase,
            colour=opinion[0],
            reason=opinion[1],
            status=request.status,
            duration=request.duration,
            hit_by=attribution.perturbation if attribution else "",
            what=_described(self.records[attribution.perturbation]) if attribution else "",
            role=attribution.role if attribution else "",
            evidence=attribution.evidence if attribution else "",
            exact=attribution.exact if attribution else False,
            errors=tuple(_shown(error) for error in request.errors),
            exception=request.exception,
            frames=_traceback(request),
        )

    def _overlap(self, request: RequestEnded) -> Attribution | None:
        """The weakest evidence: a perturbation that was there while the request ran."""
        end = request.began + request.duration
        for record in self.records.values():
            over = self.timeline.ends.get(record.perturbation)
            if record.at <= end and (over is None or over.at >= request.began):
                return Attribution(record.perturbation, request.request, "overlap", exact=False)
        return None

    def _earlier(self, route: str) -> Attribution | None:
        """What hit the route before it failed to recover."""
        found = [
            attribution
            for request in (*self.during.requests, *self.after.requests)
            if name(request) == route
            for attribution in self._attributions(request)
        ]
        attribution = min(found, key=_preference, default=None)
        return attribution and replace(attribution, role=EARLIER)


def _not_blamed(cell: Cell, flaky: steadiness.Flaky | None) -> Cell:
    """What a flaky route does is its own, unless all requests that were hit went wrong."""
    if flaky is None or cell.colour not in (AMBER, RED) or cell.certain:
        return cell
    return replace(cell, colour=NOT_COVERED, reasons=(str(flaky),), worst=None)


def _traceback(request: RequestEnded) -> tuple[str, ...]:
    """Of the exception that left the app, of one that it logged, or where it logged an error."""
    if request.frames:
        return request.frames
    logged = sorted(request.errors, key=lambda error: not error.exception)
    return next((error.frames for error in logged if error.frames), ())


def _described(record: PerturbationBegan) -> str:
    where = f"{record.type} on {record.proxy}"
    if not record.client:
        return where
    return f"{where}, from byte {record.offset} of the connection from {record.client}"


def _preference(attribution: Attribution) -> tuple[bool, bool]:
    return (not attribution.exact, attribution.role != "hit")


def _shown(error: LoggedError) -> str:
    parts = (error.logger, error.where, error.exception, error.message)
    return " ".join(part for part in parts if part)


def _quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that is at least as large as a share ``q`` of all."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else 0.0


def _unanswered(load: Mapping[str, Any]) -> int:
    return sum(route.get("no_response", 0) for route in load.values())


def _unseen(segment: Segment) -> int:
    """Requests that got no response and that no worker ever began."""
    if segment.load is None:
        return 0
    never_begun = segment.load.requests - len(segment.requests)
    return max(0, min(never_begun, _unanswered(segment.load.routes)))


def _of_all(timeline: Timeline, plan: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What concerns the mixed load, or a load that did not count by phase."""
    for segment in timeline.segments:
        if segment.phase.phase == "mixed":
            names = [plan[index]["name"] for index in segment.phase.active]
            when = f"mixed load: during {' and '.join(names) or 'nothing'}"
            yield from _actions(segment, when)
            front = any(plan[index].get("front") for index in segment.phase.active)
            unseen = 0 if front else _unseen(segment)
            if unseen:
                yield f"{when} {unseen} requests got no response, and no worker ever saw them"
    if timeline.load is not None and not any(step.get("front") for step in plan):
        everything = replace(_nothing(), load=timeline.load)
        everything.requests = [*timeline.requests.values()]
        if unseen := _unseen(everything):
            yield f"{unseen} requests got no response, and no worker ever saw them"


def _unjudged(timeline: Timeline, plan: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Perturbations of the mixed load that had no aftershock of their own."""
    for index, step in enumerate(plan):
        after = timeline.mixed.get(("after", index))
        if after is not None and not after.requests:
            yield (
                f"{step['name']}: another one began with its end, so that nothing is known "
                "of its aftershock"
            )


def _given_up(segment: Segment, unseen: int) -> int:
    """Requests that were answered, and whose clients had gone by then."""
    if segment.load is None:
        return 0
    known = sum(request.body in (BODY_NONE, BODY_TRUNCATED) for request in segment.requests)
    return max(0, _unanswered(segment.load.routes) - unseen - known)


def _actions(segment: Segment | None, when: str) -> Iterator[str]:
    """Actions that were not done exactly as often as their clients were told."""
    load = segment.load if segment else None
    for route, tally in (load.actions or {} if load else {}).items():
        for _, what in _miscounted(tally, f"actions {route}"):
            yield f"{when} {what}"


def _miscounted(tally: Mapping[str, int], actions: str = "actions") -> Iterator[tuple[str, str]]:
    for key, what in (
        ("twice", "were done more than once"),
        ("lost", "were acknowledged and never done"),
        (UNKNOWN, "are in doubt: the app did not say how often they were done"),
    ):
        if tally.get(key):
            yield key, f"{tally[key]} of {tally['sent']} {actions} {what}"


def _dropped(timeline: Timeline) -> int:
    """Observations that are missing, by the workers' count or by the load generator's."""
    by_load = 0
    for segment in timeline.segments:
        if segment.load is not None and segment.requests:
            answered = segment.load.requests - _unanswered(segment.load.routes)
            by_load += max(0, answered - len(segment.requests))
    if timeline.load is not None:
        answered = timeline.load.requests - _unanswered(timeline.load.routes)
        by_load += max(0, answered - len(timeline.requests))
    return max(timeline.missing, by_load)


def _warnings(timeline: Timeline) -> Iterator[str]:
    """What makes the attributions of this run less than complete."""
    for blind in sorted({what for worker in timeline.workers for what in worker.blind}):
        yield f"the app has loaded {blind}: perturbations cannot be attributed through it"
    attributed = {
        attribution.perturbation
        for attributions in timeline.attributions.values()
        for attribution in attributions
    }
    alone = [
        key
        for key, record in timeline.perturbations.items()
        if key not in attributed and key not in timeline.of_none and _took_bytes(timeline, record)
    ]
    if alone:
        yield f"{len(alone)} of {len(timeline.perturbations)} perturbations hit no known request"


def _took_bytes(timeline: Timeline, record: PerturbationBegan) -> bool:
    """Whether bytes of a client were affected, so that somebody must have sent them."""
    end = timeline.ends.get(record.perturbation)
    if record.type == DOWN or record.offset is None or end is None or end.offset is None:
        return False
    return end.offset > record.offset


def _nothing() -> Segment:
    return Segment(Phase("none", 0.0))
