"""The verdict on one planned perturbation: a cell for each route, and what it did beyond."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from seism.verdict import log_quality
from seism.verdict.accounting import action_lines, given_up, unseen, wrong_actions
from seism.verdict.client_view import took
from seism.verdict.collateral import collateral
from seism.verdict.death import deaths
from seism.verdict.detectors import detect
from seism.verdict.patience import late_verdict
from seism.verdict.pool import PoolLimits, Pools
from seism.verdict.request import judge_request
from seism.verdict.result import (
    COLLATERAL,
    EARLIER,
    FINE,
    GREEN,
    LEAKED,
    NOT_COVERED,
    RED,
    UNSURE,
    Case,
    Cell,
    HarmFinding,
    Verdict,
)
from seism.verdict.retry_storm import Storms
from seism.verdict.rules import Rules
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import route_of, worker_of
from seism_middleware.contract import (
    BODY_NONE,
    BODY_TRUNCATED,
    Attribution,
    LoggedError,
    OpenConnection,
    PerturbationBegan,
    RequestEnded,
)

CERTAIN = 3
"""So many requests that were hit, all of them wrong, are no coincidence."""


@dataclass(frozen=True, slots=True)
class JudgedRequest:
    """A request of one step, and what is said of it."""

    request: RequestEnded
    phase: str
    """``during`` or ``after``."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class LeftConnection:
    """A connection that stays open, and the request that failed on it."""

    request: RequestEnded
    connection: OpenConnection


class StepVerdict:
    """What is said of one step, by ``rules`` and in comparison with the control run."""

    def __init__(self, step: StepWindow, control: ControlRun, storms: Storms, rules: Rules) -> None:
        self.step = step
        self._control = control
        self._storms = storms
        self._rules = rules
        self._collateral = collateral(step, control)
        self._detected = detect(step, control, rules)
        self._judged = list(self._judge_requests())
        self._left = self._find_left()
        self.pools = Pools(step)

    def cells(self, broken: Mapping[str, str]) -> list[Cell]:
        """One for each route; ``broken``: route -> since which step it has not recovered."""
        return [self._cell(route, broken.get(route)) for route in self._control.routes]

    def cases(self) -> list[Case]:
        """The requests that are not green."""
        return [self._case(each) for each in self._judged if each.verdict.colour != GREEN]

    def harms(self) -> list[HarmFinding]:
        """What it did beyond the requests that it hit."""
        control = self._control
        usual = [route for route in control.routes if route in control.p99]
        limits = PoolLimits(
            {route: control.deadline[route] for route in usual},
            {route: control.rules[route].recover_within for route in usual},
            self._rules.connections_growth,
        )
        return [
            *control.replies.findings(self.step),
            *self.pools.findings(limits),
            *self._left_behind(),
            *deaths(self.step),
        ]

    def log_misses(self) -> Iterator[str]:
        """What the log does not tell as it should of the requests that were hit, and failed."""
        if not self.step.timeline.sees_logs:
            return iter(())
        failed = [
            each.request
            for each in self._judged
            if (each.request.status or 0) >= 500 and self.step.is_hit(each.request)
        ]
        return log_quality.lines(failed, self.step.only_backend, self.step.name)

    def findings(self) -> list[str]:
        """What concerns whole workers, requests that no worker saw, or actions."""
        step = self.step
        found = [
            *action_lines(step.during, f"{step.name}: during it"),
            *action_lines(step.after, f"{step.name}: after it"),
            *self._memory(),
        ]
        for segment, when in ((step.during, "during"), (step.after, "after")):
            # What is cut on the clients' side may never reach the app, and is not its fault.
            if step.is_front:
                continue
            if missed := unseen(segment):
                found.append(
                    f"{step.name}: {when} it {missed} requests got no response, "
                    "and no worker ever saw them"
                )
            if late := given_up(segment):
                found.append(
                    f"{step.name}: {when} it {late} requests got no response: their clients had "
                    "given up when it came"
                )
        return found

    def still_broken(self, before: Mapping[str, str]) -> dict[str, str]:
        """Routes whose last requests of the aftershock were still bad -> since which step."""
        broken = {} if self.step.after.requests else dict(before)
        for route, requests in self.step.after.by_route().items():
            if not self._control.is_as_steady(requests[-1]):
                broken[route] = before.get(route, self.step.name)
        return broken

    def _memory(self) -> Iterator[str]:
        for worker, census in self.step.after.censuses.items():
            earlier = self.step.before.censuses.get(worker)
            if earlier is None or earlier.rss is None or census.rss is None:
                continue
            grown = (census.rss - earlier.rss) / 1e6
            if grown > self._rules.memory_growth_mb:
                yield (
                    f"{self.step.name}: the memory of worker {worker} grew by {grown:.0f} MB "
                    f"(allowed: {self._rules.memory_growth_mb:g} MB)"
                )

    def _judge_requests(self) -> Iterator[JudgedRequest]:
        for requests in self.step.during.by_route().values():
            for request in requests:
                verdict = max(self._during(request), self._as_collateral(request), key=_severity)
                yield JudgedRequest(request, "during", self._with_detected(request, verdict))
        for requests in self.step.after.by_route().values():
            for place, request in enumerate(requests, 1):
                verdict = self._after(request, place)
                yield JudgedRequest(request, "after", self._with_detected(request, verdict))

    def _with_detected(self, request: RequestEnded, verdict: Verdict) -> Verdict:
        found = None if self._is_cut_off(request) else self._detected.verdict(request.request)
        return verdict if found is None else max(verdict, found, key=_severity)

    def _during(self, request: RequestEnded) -> Verdict:
        if self._is_cut_off(request):
            return FINE
        control, route = self._control, route_of(request)
        attributions = self.step.attributions(request.request)
        waited = late_verdict(request, attributions, self.step.timeline, control.deadline[route])
        if waited is not None:
            return waited
        verdict = judge_request(
            request,
            control.rules[route],
            control.deadline[route],
            self.step.only_backend,
            sees_logs=self.step.timeline.sees_logs,
        )
        for backend in self.step.backends if attributions else ():
            verdict = max(verdict, self._storms.verdict(request, backend), key=_severity)
        if verdict.colour == RED:
            return verdict
        if wrong := control.replies.reason(request.request):
            return Verdict(RED, wrong)
        return verdict

    def _as_collateral(self, request: RequestEnded) -> Verdict:
        found = self._collateral.get(route_of(request))
        if found is None or request.request not in found.requests:
            return FINE
        return found.verdict or FINE

    def _is_cut_off(self, request: RequestEnded) -> bool:
        """Whether it is its client's line that was perturbed, so that it had nobody to answer."""
        broken = request.body in (BODY_NONE, BODY_TRUNCATED)
        return broken and self.step.is_front and self.step.is_hit(request)

    def _after(self, request: RequestEnded, place: int) -> Verdict:
        if self._control.is_as_steady(request):
            return FINE
        verdict = self._during(request)
        within = self._control.rules[route_of(request)].recover_within
        if verdict.colour == RED or place <= within:
            return verdict
        what = verdict.reason or str(request.status)
        return Verdict(
            RED, f"not recovered: still {what} more than {within} requests after the end"
        )

    def _cell(self, route: str, broken_since: str | None) -> Cell:
        mine = [each for each in self._judged if route_of(each.request) == route]
        attributions = [self.step.attributions(each.request.request) for each in mine]
        reconnects = self.step.reconnects()
        exact = sum(
            each.request.request in reconnects or any(attribution.exact for attribution in found)
            for each, found in zip(mine, attributions, strict=True)
        )
        possible = sum(
            bool(found) and not any(attribution.exact for attribution in found)
            for found in attributions
        )
        changed = [each for each in mine if self._is_changed(each)]
        possible += sum(not self.step.attributions(each.request.request) for each in changed)
        colour, reasons, worst = self._colour(route, mine)
        if worst is None and mine:
            colour, reasons = _coverage(exact + len(changed), possible)
        if broken_since is not None:
            colour, worst = NOT_COVERED, None
            reasons = (f"still broken since {broken_since}",)
        return Cell(
            route=route,
            perturbation=self.step.name,
            colour=colour,
            reasons=reasons,
            requests=len(mine),
            exact=exact,
            possible=possible,
            worst=worst,
            certain=self._is_certain(route, mine),
            notes=self._detected.notes(route) if colour == GREEN else (),
        )

    def _is_changed(self, each: JudgedRequest) -> bool:
        """Whether it was answered as never in the control run, while something possibly hit it or a
        backend was down: a driver may fail to connect where nobody sees it.
        """
        request = each.request
        return (
            each.phase == "during"
            and (self.step.is_down or bool(self.step.attributions(request.request)))
            and not self._control.is_usual(request)
        )

    def _is_certain(self, route: str, mine: Sequence[JudgedRequest]) -> bool:
        """Whether what went wrong is no coincidence, however flaky the route is."""
        hit = [each.verdict for each in mine if self.step.is_hit(each.request)]
        last = self.step.after.by_route().get(route, [])[-CERTAIN:]
        return (
            (len(hit) >= CERTAIN and FINE not in hit)
            or (len(last) == CERTAIN and not any(map(self._control.is_as_steady, last)))
            or len(self._left.get(route, [])) > self._rules.connections_growth
            or route in self._collateral
            or self._detected.is_certain(route)
        )

    def _colour(
        self, route: str, mine: Sequence[JudgedRequest]
    ) -> tuple[str, tuple[str, ...], Case | None]:
        """Colour, reasons and worst case of a cell; without a case, nothing went wrong."""
        if not mine:
            return NOT_COVERED, ("no request of it was observed",), None
        step = self.step
        bad = [each for each in mine if each.verdict.colour != GREEN]
        bad.sort(key=lambda each: (-each.verdict.severity, not step.is_hit(each.request)))
        reasons = list(dict.fromkeys(each.verdict.reason for each in bad))
        worst = bad[0] if bad else None
        left = self._left.get(route, [])
        if len(left) > self._rules.connections_growth:
            reasons.insert(0, f"{len(left)} backend connections of its failed requests stay open")
            worst = JudgedRequest(left[0].request, "during", Verdict(RED, reasons[0]))
        wrong = [*wrong_actions(step.during, route), *wrong_actions(step.after, route)]
        if wrong:
            reasons = [*wrong, *reasons]
            hit = next((each.request for each in mine if step.is_hit(each.request)), None)
            worst = JudgedRequest(hit or mine[0].request, "during", Verdict(RED, wrong[0]))
        if worst is not None:
            return worst.verdict.colour, tuple(reasons), self._case(worst)
        return GREEN, (), None

    def _left_behind(self) -> Iterator[HarmFinding]:
        for route, left in self._left.items():
            if len(left) <= self._rules.connections_growth:
                continue
            for each in left:
                request, connection = each.request.request, each.connection
                hit_by = self.step.attributions(request)[0].perturbation
                yield HarmFinding(
                    kind=LEAKED,
                    perturbation=self.step.name,
                    colour=RED,
                    what=f"connection {connection.local} to {connection.backend} stays open, "
                    f"unused since request {request} ({route}) failed on it, since {hit_by}",
                    evidence="census",
                    exact=True,
                    backend=connection.backend,
                    worker=worker_of(request),
                    connection=connection.local,
                    requests=(request,),
                    hit_by=hit_by,
                )

    def _find_left(self) -> dict[str, list[LeftConnection]]:
        """Route -> its requests that left a connection behind, open after the aftershock.

        Left behind: it was perturbed, the request that it was perturbed for has failed, and
        nobody has used it since. A pool would have closed it, or used it again.
        """
        step = self.step
        perturbed = {record.client for record in step.records.values() if record.client}
        found: dict[str, list[LeftConnection]] = {}
        for census in step.after.censuses.values():
            for connection in census.connections:
                request = step.timeline.requests.get(connection.user or "")
                if request is None or connection.in_use or connection.unsure:
                    continue
                if self._control.is_usual(request):
                    continue
                if connection.local in perturbed and step.attributions(request.request):
                    left = LeftConnection(request, connection)
                    found.setdefault(route_of(request), []).append(left)
        return found

    def _case(self, judged: JudgedRequest) -> Case:
        request = judged.request
        attribution = self._best_attribution(judged)
        return Case(
            request=request.request,
            route=route_of(request),
            perturbation=self.step.name,
            phase=judged.phase,
            colour=judged.verdict.colour,
            reason=judged.verdict.reason,
            status=request.status,
            duration=took(request),
            hit_by=attribution.perturbation if attribution else "",
            what=_described(self.step.records[attribution.perturbation]) if attribution else "",
            role=attribution.role if attribution else "",
            evidence=attribution.evidence if attribution else "",
            exact=attribution.exact if attribution else False,
            errors=tuple(_shown(error) for error in request.errors),
            exception=request.exception,
            frames=_traceback(request),
        )

    def _best_attribution(self, judged: JudgedRequest) -> Attribution | None:
        """What is best known to have hit or harmed it."""
        request, replies = judged.request, self._control.replies
        attribution = min(self.step.attributions(request.request), key=_preference, default=None)
        if attribution is None or replies.reason(request.request):
            attribution = replies.attribution(request.request, self.step.records) or attribution
        if attribution is None and judged.phase == "after":
            attribution = self._overlap(request) or self._earlier(route_of(request))
        return attribution or self._collateral_of(request) or self._overlap(request)

    def _collateral_of(self, request: RequestEnded) -> Attribution | None:
        """The latest perturbation that began before the end of a request that is collateral."""
        found = self._collateral.get(route_of(request))
        if found is None or request.request not in found.requests:
            return None
        end = request.began + took(request)
        began = [record for record in self.step.records.values() if record.at <= end]
        latest = max(began, key=lambda record: record.at)
        return Attribution(latest.perturbation, request.request, "control", False, COLLATERAL)

    def _overlap(self, request: RequestEnded) -> Attribution | None:
        """The weakest evidence: a perturbation that was there while the request ran."""
        end = request.began + request.duration
        for record in self.step.records.values():
            over = self.step.timeline.ends.get(record.perturbation)
            if record.at <= end and (over is None or over.at >= request.began):
                return Attribution(record.perturbation, request.request, "overlap", exact=False)
        return None

    def _earlier(self, route: str) -> Attribution | None:
        """What hit the route before it failed to recover."""
        found = [
            attribution
            for request in self.step.requests
            if route_of(request) == route
            for attribution in self.step.attributions(request.request)
        ]
        attribution = min(found, key=_preference, default=None)
        return attribution and replace(attribution, role=EARLIER)


def _coverage(certain: int, possible: int) -> tuple[str, tuple[str, ...]]:
    """Colour and reasons of a cell in which nothing went wrong, by how many of its requests were
    hit for ``certain``, and how many only possibly.
    """
    if certain:
        return GREEN, ()
    if possible:
        requests = f"{possible} request" if possible == 1 else f"{possible} requests"
        return UNSURE, (f"{requests} possibly hit, none for certain",)
    return NOT_COVERED, ("the perturbation did not touch it",)


def _severity(verdict: Verdict) -> int:
    return verdict.severity


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
