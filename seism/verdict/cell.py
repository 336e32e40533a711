"""The verdict on one planned perturbation: a cell for each route, and what it did beyond."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from seism.verdict import background, client_view, log_quality
from seism.verdict.accounting import action_lines, given_up, unseen, wrong_actions
from seism.verdict.client_view import took
from seism.verdict.collateral import collateral
from seism.verdict.death import deaths
from seism.verdict.detector import Detected
from seism.verdict.failed_connect import is_certain
from seism.verdict.own_rate import OwnRates, Unattributed
from seism.verdict.patience import late_verdict, short_delays
from seism.verdict.pool import PoolLimits, Pools
from seism.verdict.recovery import Recoveries
from seism.verdict.request import judge_request
from seism.verdict.result import (
    AMBER,
    COLLATERAL,
    EARLIER,
    FINE,
    GREEN,
    LEAKED,
    NOT_COVERED,
    RED,
    STALE,
    TWICE,
    UNSURE,
    WRONG,
    Case,
    Cell,
    HarmFinding,
    Verdict,
    plural,
)
from seism.verdict.retry_storm import Storms
from seism.verdict.rules import Rules
from seism.verdict.stale import StaleConnections
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

    @property
    def place(self) -> tuple[str, str]:
        """Its route and phase."""
        return route_of(self.request), self.phase


@dataclass(frozen=True, slots=True)
class LeftConnection:
    """A connection that stays open, and the request that failed on it."""

    request: RequestEnded
    connection: OpenConnection


class StepVerdict:
    """What is said of one step, by ``rules`` and in comparison with the control run."""

    def __init__(
        self,
        step: StepWindow,
        control: ControlRun,
        storms: Storms,
        rules: Rules,
        own: OwnRates,
        detected: Detected,
    ) -> None:
        self.step = step
        self._control = control
        self._storms = storms
        self._rules = rules
        self._collateral = collateral(step, control)
        self._recoveries = Recoveries(step, control)
        self._stale = StaleConnections(step)
        self._stale_colour = (
            RED if self._stale.is_endless(bool(self._recoveries.broken())) else AMBER
        )
        self._detected = detected
        self._reconnects = step.reconnects()
        self._judged = list(self._judge_requests())
        self.unattributed = self._find_unattributed(own)
        """(Route, phase) -> its requests that went wrong, and that nothing is attributed to."""
        self._doubtful: dict[tuple[str, str], Unattributed] = {}
        self._left = self._find_left()
        self.pools = Pools(step)

    def settle(self, believed: Container[tuple[str, str]]) -> None:
        """Blame what nothing is attributed to where it is ``believed`` alone: (route, phase)."""
        self._doubtful = {
            key: found for key, found in self.unattributed.items() if key not in believed
        }
        self._judged = [
            replace(each, verdict=FINE)
            if each.place in self._doubtful and self._is_unattributed(each)
            else each
            for each in self._judged
        ]

    def _find_unattributed(self, own: OwnRates) -> dict[tuple[str, str], Unattributed]:
        failed: Counter[tuple[str, str]] = Counter()
        total: Counter[tuple[str, str]] = Counter()
        for each in self._judged:
            total[each.place] += not self.step.attributions(each.request.request)
            failed[each.place] += self._is_unattributed(each)
        return {key: own.beside(key[0], count, total[key]) for key, count in (+failed).items()}

    def _is_unattributed(self, each: JudgedRequest) -> bool:
        """Whether it went wrong, and nothing tells that this step is to blame."""
        key = each.request.request
        return not (
            each.verdict.colour == GREEN
            or self.step.attributions(key)
            or key in self._stale
            or key in self._reconnects
            # A probe sends one request at a time, and few: what fails while its backend is away
            # may be a connect that nobody sees.
            or (self.step.is_probe and self._is_changed(each))
            or self._detected.verdict(key) is not None
            or self._control.replies.reason(key)
        )

    def cells(self, broken: Mapping[str, str]) -> list[Cell]:
        """One for each route; ``broken``: route -> since which step it has not recovered."""
        return [self._cell(route, broken.get(route)) for route in self._control.routes]

    def unused(self) -> dict[tuple[str, str], str]:
        """(Route, backend) that it does not ask any more -> since when, in words."""
        return self._detected.unused()

    def cases(self) -> list[Case]:
        """The requests that are not green."""
        return [self._case(each) for each in self._judged if each.verdict.colour != GREEN]

    def harms(self) -> list[HarmFinding]:
        """What it did beyond the requests that it hit."""
        control = self._control
        usual = [route for route in control.routes if route in control.p99]
        limits = PoolLimits(
            {route: control.deadline[route] for route in usual},
            frozenset(self._recoveries.broken()),
            self._rules.connections_growth,
        )
        return [
            *control.replies.findings(self.step),
            *self.pools.findings(limits),
            *self._left_behind(),
            *self._stale.findings(bool(self._recoveries.broken())),
            *deaths(self.step),
            *background.ends(self.step),
        ]

    def log_misses(self) -> Iterator[log_quality.LogMiss]:
        """What the log does not tell as it should of the requests that were hit, and failed."""
        if not self.step.timeline.sees_logs:
            return iter(())
        failed = [
            each.request
            for each in self._judged
            if (each.request.status or 0) >= 500 and self.step.is_hit(each.request)
        ]
        return log_quality.found(failed, self.step.only_backend, self.step.name)

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
                    f"{step.name}: {when} it {plural(missed, 'request')} got no response, "
                    "and no worker ever saw them"
                )
            if late := given_up(segment):
                found.append(
                    f"{step.name}: {when} it {plural(late, 'request')} got no response: the client "
                    "had given up when it came"
                )
        return found

    def still_broken(self, before: Mapping[str, str]) -> dict[str, str]:
        """Routes that had not recovered when the aftershock ended -> since which step."""
        seen = self.step.after.by_route()
        broken = {route: since for route, since in before.items() if route not in seen}
        for route in self._recoveries.broken():
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
            for request in requests:
                verdict = self._after(request)
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
        deadline = control.deadline[route]
        held = short_delays(request, self.step.records.values(), self.step.timeline)
        verdict = judge_request(
            request,
            control.rules[route],
            deadline,
            self.step.only_backend,
            sees_logs=self.step.timeline.sees_logs,
            # Beyond this it has waited for more than what was late.
            grace=min(held, deadline),
        )
        for backend in self.step.backends if attributions else ():
            verdict = max(verdict, self._storms.verdict(request, backend), key=_severity)
        if verdict.colour == RED:
            return verdict
        if wrong := control.replies.reason(request.request):
            return Verdict(RED, wrong, WRONG)
        return verdict

    def _as_collateral(self, request: RequestEnded) -> Verdict:
        found = self._collateral.get(route_of(request))
        if found is None or request.request not in found.requests:
            return FINE
        return found.verdict or FINE

    def _is_cut_off(self, request: RequestEnded) -> bool:
        """Whether its client left, or its line was perturbed, so that it had nobody to answer."""
        if client_view.left(request):
            return True
        broken = request.body in (BODY_NONE, BODY_TRUNCATED)
        return broken and self.step.is_front and self.step.is_hit(request)

    def _after(self, request: RequestEnded) -> Verdict:
        if self._control.is_as_steady(request):
            return FINE
        verdict = self._during(request)
        if request.request in self._stale and verdict.colour == RED:
            return Verdict(
                self._stale_colour,
                f"stale: {verdict.reason} on a connection that {self.step.name} had broken",
                STALE,
            )
        return verdict

    def _cell(self, route: str, broken_since: str | None) -> Cell:
        mine = [each for each in self._judged if route_of(each.request) == route]
        attributions = [self.step.attributions(each.request.request) for each in mine]
        exact = sum(
            each.request.request in self._reconnects
            or client_view.left(each.request)
            or any(map(is_certain, found))
            for each, found in zip(mine, attributions, strict=True)
        )
        possible = sum(bool(found) and not any(map(is_certain, found)) for found in attributions)
        doubtful = (route, "during") in self._doubtful
        changed = [] if doubtful else [each for each in mine if self._is_changed(each)]
        possible += sum(not self.step.attributions(each.request.request) for each in changed)
        judged = mine if broken_since is None else [e for e in mine if self.step.is_hit(e.request)]
        colour, reasons, worst = self._colour(route, judged, broken=broken_since is not None)
        if worst is None and mine:
            # As for failures, see ``_is_unattributed``: a probe's odd answer is its outage's.
            certain = exact + sum(
                self.step.is_probe or self._is_known(each.request) for each in changed
            )
            if self.step.is_cold_start:
                certain = len(mine)
            colour, reasons = _coverage(certain, possible)
            unusual = [doubt for doubt in self._doubts(route) if not doubt.is_usual]
            if unusual:
                colour, reasons = UNSURE, tuple(map(str, unusual))
            if broken_since is not None:
                colour, reasons = NOT_COVERED, (f"still broken since {broken_since}",)
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
            recovery=self._recoveries.of(route),
            notes=self._detected.notes(route) if colour == GREEN else (),
        )

    def _doubts(self, route: str) -> list[Unattributed]:
        return [found for (of, _), found in self._doubtful.items() if of == route]

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

    def _is_known(self, request: RequestEnded) -> bool:
        """Whether more than the time says that it was hit: an attribution, or that so many of its
        route are answered as never in the control run.
        """
        found = self._collateral.get(route_of(request))
        significant = found is not None and request.request in found.requests
        return significant or bool(self.step.attributions(request.request))

    def _is_certain(self, route: str, mine: Sequence[JudgedRequest]) -> bool:
        """Whether what went wrong is no coincidence, however flaky the route is."""
        hit = [each.verdict for each in mine if self.step.is_hit(each.request)]
        return (
            (len(hit) >= CERTAIN and FINE not in hit)
            or self._recoveries.verdict(route).colour == RED
            or len(self._left.get(route, [])) > self._rules.connections_growth
            or route in self._collateral
            or self._detected.is_certain(route)
        )

    def _colour(
        self, route: str, mine: Sequence[JudgedRequest], *, broken: bool
    ) -> tuple[str, tuple[str, ...], Case | None]:
        """Colour, reasons and worst case of a cell; without a case, nothing went wrong.

        ``broken``: the route was before, so that its recovery is not this step's.
        """
        if not mine:
            return NOT_COVERED, ("no request of it was observed",), None
        step = self.step
        bad = [each for each in mine if each.verdict.colour != GREEN]
        bad.sort(key=lambda each: (-each.verdict.severity, not step.is_hit(each.request)))
        reasons = list(dict.fromkeys(each.verdict.reason for each in bad))
        worst = bad[0] if bad else None
        slow = FINE if broken else self._recoveries.verdict(route)
        if slow.colour != GREEN:
            reasons.insert(
                0 if slow.severity >= (worst.verdict.severity if worst else 0) else len(reasons),
                slow.reason,
            )
            if worst is None or slow.severity >= worst.verdict.severity:
                worst = replace(self._last_bad(route, mine), verdict=slow)
        left = [] if broken else self._left.get(route, [])
        if len(left) > self._rules.connections_growth:
            reasons.insert(0, f"{len(left)} backend connections of its failed requests stay open")
            worst = JudgedRequest(left[0].request, "during", Verdict(RED, reasons[0], LEAKED))
        wrong = [*wrong_actions(step.during, route), *wrong_actions(step.after, route)]
        if wrong:
            reasons = [*wrong, *reasons]
            hit = next((each.request for each in mine if step.is_hit(each.request)), None)
            verdict = Verdict(RED, wrong[0], TWICE)
            worst = JudgedRequest(hit or mine[0].request, "during", verdict)
        if worst is not None:
            return worst.verdict.colour, tuple(reasons), self._case(worst)
        return GREEN, (), None

    def _last_bad(self, route: str, mine: Sequence[JudgedRequest]) -> JudgedRequest:
        """The last request of the aftershock that was not as before."""
        late = [each for each in mine if each.phase == "after"]
        bad = [each for each in late if not self._control.is_good(each.request)]
        return (bad or late)[-1]

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
                if self._control.is_usual(request) or client_view.left(request):
                    continue
                if step.timeline.is_used_after(request, connection.local, census.at):
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
            kind=judged.verdict.kind,
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
        return UNSURE, (f"{plural(possible, 'request')} possibly hit, none for certain",)
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
