"""A journal put in order: which request ran in which phase, and what touched it."""

from __future__ import annotations

import bisect
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from seism.errors import ConfigurationError
from seism.journal import (
    AppEnded,
    ChangingExchange,
    ClientRequest,
    Consumers,
    Diagnosis,
    Entry,
    LoadDone,
    Manifest,
    Missing,
    Phase,
    Plan,
    Reached,
    Stopped,
    WorkerLeft,
)
from seism.model import DOWN, FRONT, PlannedStep
from seism.verdict import alone, failed_connect
from seism.verdict.client_view import came, joined
from seism_middleware.contract import (
    BODY_NONE,
    OVERLAP,
    Attribution,
    BackgroundEnded,
    Census,
    Harm,
    Hello,
    PerturbationBegan,
    PerturbationEnded,
    RequestBegun,
    RequestEnded,
)


@dataclass(slots=True)
class Segment:
    """One phase of the run and what belongs to it."""

    phase: Phase
    requests: list[RequestEnded] = field(default_factory=list)
    """In the order in which the app began them."""
    perturbations: list[PerturbationBegan] = field(default_factory=list)
    censuses: dict[str, Census] = field(default_factory=dict)
    """The last one of each worker in this segment."""
    load: LoadDone | None = None
    outside: int = 0
    """Requests of the load that never reached the app, for a reason of ours."""
    reached: list[Reached] = field(default_factory=list)
    consumers: list[Consumers] = field(default_factory=list)
    """At each census."""

    @classmethod
    def empty(cls) -> Segment:
        """That of a phase that there was not."""
        return cls(Phase("none", 0.0))

    def by_route(self) -> dict[str, list[RequestEnded]]:
        routes: dict[str, list[RequestEnded]] = defaultdict(list)
        for request in self.requests:
            routes[route_of(request)].append(request)
        return routes


@dataclass(slots=True)
class Timeline:
    """The whole run."""

    manifest: Manifest
    plan: tuple[PlannedStep, ...] = ()
    """The planned steps in order."""
    segments: list[Segment] = field(default_factory=list)
    attributions: dict[str, list[Attribution]] = field(default_factory=lambda: defaultdict(list))
    """Request id -> attributions of perturbation records to it."""
    of_none: set[str] = field(default_factory=set)
    """Perturbations whose bytes are known to belong to no request."""
    perturbations: dict[str, PerturbationBegan] = field(default_factory=dict)
    ends: dict[str, PerturbationEnded] = field(default_factory=dict)
    requests: dict[str, RequestEnded] = field(default_factory=dict)
    """Those of the load as their clients saw them (``client_view.ClientAnswer``)."""
    clients: list[ClientRequest] = field(default_factory=list)
    changing: list[ChangingExchange] = field(default_factory=list)
    """The exchanges that change something, of proxies that know their protocol."""
    """The load's requests, where it has told of each."""
    outside: tuple[ClientRequest, ...] = ()
    """Those that never reached the app, for a reason of ours."""
    workers: list[Hello] = field(default_factory=list)
    harms: list[Harm] = field(default_factory=list)
    background_ends: list[tuple[str, BackgroundEnded]] = field(default_factory=list)
    """(Worker, what an exception has ended there)."""
    left: dict[str, WorkerLeft] = field(default_factory=dict)
    """Worker -> how its stream ended."""
    app_ends: list[AppEnded] = field(default_factory=list)
    diagnosis: tuple[str, ...] = ()
    """What the doctor found, where it was asked."""
    missing: int = 0
    complete: bool = False
    """Whether the run came to its planned end."""
    stopped: str = ""
    """Which limit stopped it."""
    load: LoadDone | None = None
    """What the load generator saw of the whole run, where it did not count by phase."""
    last_use: dict[tuple[str, str], float] = field(default_factory=dict)
    """(Worker, its end of a connection to a backend, ``host:port``) -> when the last request that
    used it began. Another worker's port may be the same, later."""
    mixed: dict[tuple[str, int], Segment] = field(default_factory=dict)
    """(``during`` or ``after``, step) -> what of the mixed load belongs to it."""

    def is_used_after(self, user: RequestEnded, local: str, at: float) -> bool:
        """Whether a request that began later than ``at`` has used the connection ``local``, which
        ``user`` has used, too.
        """
        return self.last_use.get((worker_of(user.request), local), at) > at

    @property
    def steady_requests(self) -> list[RequestEnded]:
        """Those of the control run before the first perturbation."""
        segment = self.find("steady")
        return segment.requests if segment is not None else []

    @property
    def attributed(self) -> set[str]:
        """The perturbations that are attributed to a request."""
        return {each.perturbation for found in self.attributions.values() for each in found}

    @property
    def sees_logs(self) -> bool:
        """Whether the app's log was observed: not from in front of it."""
        return not any(worker.worker == FRONT for worker in self.workers)

    def untouched(self) -> Iterator[Segment]:
        """The segments before the first planned step, in which the app is as it was started.

        What comes between the probes of a sweep is none: it may suffer from the probe before.
        """
        return itertools.takewhile(
            lambda each: each.phase.step is None and not each.phase.active, self.segments
        )

    def find(self, phase: str, step: int | None = None) -> Segment | None:
        for segment in self.segments:
            if segment.phase.phase == phase and segment.phase.step == step:
                return segment
        return self.mixed.get((phase, -1 if step is None else step))

    def before(self, step: int) -> Segment | None:
        """The last segment before ``step`` in which nothing lasted that was planned."""
        if ("during", step) in self.mixed:
            quiet = [each for each in self.segments if each.phase.phase in QUIET]
            begin = self.mixed["during", step].phase.at
            return max(
                (each for each in quiet if each.phase.at < begin and not each.phase.active),
                key=lambda each: each.phase.at,
                default=None,
            )
        return self.find("after", step - 1) if step else self.find("steady")


QUIET = ("steady", "after", "mixed")
"""Phases in which nothing lasts, unless a mixed one says so."""


def load_route(route: str, routes: Iterable[str]) -> str | None:
    """That of ``routes`` (``METHOD /path``) that the pattern ``route`` stands for, or None."""
    pattern = re.compile(re.sub(r"\\\{[^/]*?\\\}", "[^/]+", re.escape(route)))
    return next((each for each in routes if pattern.fullmatch(each.partition("?")[0])), None)


def route_of(request: RequestEnded) -> str:
    """``METHOD route``."""
    return f"{request.method} {request.route}"


def worker_of(request: str) -> str:
    """The worker that ran the request of this id."""
    return request.rpartition("-")[0]


def build(entries: Iterable[Entry]) -> Timeline:
    """Order the entries of one journal. Raises ConfigurationError for an empty one."""
    timeline: Timeline | None = None
    guesses: dict[str, str] = {}
    for entry in entries:
        record: Any = entry.record
        if timeline is None:
            if not isinstance(record, Manifest):
                raise ConfigurationError("a journal begins with its manifest")
            timeline = Timeline(record, _planned(record.plan))
        elif isinstance(record, RequestBegun):
            guesses[record.request] = record.route
        elif isinstance(record, RequestEnded):
            timeline.requests[record.request] = record
        else:
            _sort_in(timeline, record, entry.worker)
    if timeline is None:
        raise ConfigurationError("the journal is empty")
    timeline.requests = _with_patterns(timeline.requests, guesses)
    for request in timeline.requests.values():
        for used in request.sends:
            key = worker_of(request.request), used.local
            timeline.last_use[key] = max(timeline.last_use.get(key, 0.0), request.began)
    _join(timeline)
    _distribute(timeline)
    _attribute_failed_connects(timeline)
    _attribute_alone(timeline)
    timeline.mixed = _unmixed(timeline)
    return timeline


def _planned(steps: Iterable[Any]) -> tuple[PlannedStep, ...]:
    return tuple(map(PlannedStep.from_dict, steps))


def _sort_in(timeline: Timeline, record: Any, worker: str) -> None:
    if isinstance(record, Phase):
        timeline.segments.append(Segment(record))
        timeline.complete = record.phase == "end"
    elif isinstance(record, Attribution):
        if record.request is None:
            timeline.of_none.add(record.perturbation)
        else:
            timeline.attributions[record.request].append(record)
    elif isinstance(record, PerturbationBegan):
        timeline.perturbations[record.perturbation] = record
    elif isinstance(record, PerturbationEnded):
        timeline.ends[record.perturbation] = record
    elif isinstance(record, Census) and timeline.segments:
        timeline.segments[-1].censuses[worker] = record
    elif isinstance(record, ChangingExchange):
        timeline.changing.append(record)
    elif isinstance(record, ClientRequest):
        timeline.clients.append(record)
    elif isinstance(record, LoadDone) and record.whole:
        timeline.load = record
    elif isinstance(record, LoadDone) and timeline.segments:
        _segment_of(timeline, record).load = record
    elif isinstance(record, AppEnded):
        timeline.app_ends.append(record)
    elif isinstance(record, Diagnosis):
        timeline.diagnosis = record.findings
    elif isinstance(record, Stopped):
        timeline.stopped = record.why
    elif isinstance(record, Reached) and timeline.segments:
        timeline.segments[-1].reached.append(record)
    elif isinstance(record, Consumers) and timeline.segments:
        timeline.segments[-1].consumers.append(record)
    elif isinstance(record, Plan):
        timeline.plan = _planned(record.steps)
    elif isinstance(record, Hello):
        timeline.workers.append(record)
    elif isinstance(record, Harm):
        timeline.harms.append(record)
    elif isinstance(record, BackgroundEnded):
        timeline.background_ends.append((worker, record))
    elif isinstance(record, WorkerLeft):
        timeline.left[worker] = record
    elif isinstance(record, Missing):
        timeline.missing += record.count


def _segment_of(timeline: Timeline, load: LoadDone) -> Segment:
    """The segment whose totals these are: the last one, or the one before it, where the load went
    on from that into the last.
    """
    *earlier, last = timeline.segments
    if earlier and last.phase.flowing and earlier[-1].load is None:
        phase = earlier[-1].phase
        if load.segment == f"{phase.name}: {phase.phase}":
            return earlier[-1]
    return last


def _with_patterns(
    requests: dict[str, RequestEnded], guesses: dict[str, str]
) -> dict[str, RequestEnded]:
    """Give requests that died unfinished the route that others like them ended with."""
    patterns = {
        (request.method, guesses.get(key)): request.route
        for key, request in requests.items()
        if request.body != BODY_NONE
    }
    result = {}
    for key, request in requests.items():
        if request.body == BODY_NONE:
            route = patterns.get((request.method, request.route), request.route)
            request = replace(request, route=route)
        result[key] = request
    return result


def _join(timeline: Timeline) -> None:
    """Have the requests of the load as their clients saw them."""
    starts = [segment.phase.at for segment in timeline.segments]
    plan = timeline.plan

    def phase_at(at: float) -> Phase | None:
        index = bisect.bisect_right(starts, at) - 1
        return timeline.segments[index].phase if index >= 0 else None

    def steady(at: float) -> bool:
        phase = phase_at(at)
        return phase is not None and phase.phase == "steady"

    def front(at: float) -> bool:
        phase = phase_at(at)
        if phase is None:
            return False
        active = phase.active if phase.phase == "mixed" else (phase.step,)
        lasts = phase.phase in ("during", "mixed")
        return lasts and any(step is not None and plan[step].front for step in active)

    found = joined(timeline.requests, timeline.clients, steady, front)
    timeline.requests, timeline.outside = found.requests, found.outside


def _distribute(timeline: Timeline) -> None:
    """Requests belong to the phase in which they were sent, perturbations to that in which they
    began. What waited for a thread until the perturbation was over was sent during it.

    Where the load did not stand still, a request that ran into a perturbation's phase belongs
    to that one.
    """
    starts = [segment.phase.at for segment in timeline.segments]

    def segment_at(at: float) -> Segment | None:
        index = bisect.bisect_right(starts, at) - 1
        return timeline.segments[index] if index >= 0 else None

    for request in sorted(timeline.requests.values(), key=lambda request: request.began):
        index = bisect.bisect_right(starts, came(request)) - 1
        if index < 0:
            continue
        segment = timeline.segments[index]
        if not _perturbs(segment.phase):
            last = bisect.bisect_right(starts, request.began + request.duration)
            for later in timeline.segments[index + 1 : last]:
                if later.phase.flowing and _perturbs(later.phase):
                    segment = later
                    break
        segment.requests.append(request)
    for sent in timeline.outside:
        left = segment_at(sent.at)
        if left is not None:
            left.outside += 1
    for perturbation in timeline.perturbations.values():
        found = segment_at(perturbation.at)
        if found is not None:
            found.perturbations.append(perturbation)


def _attribute_failed_connects(timeline: Timeline) -> None:
    """What hit connections that no worker knows, as they were never made."""
    of_known = {
        each.perturbation
        for attributions in timeline.attributions.values()
        for each in attributions
        if each.evidence != OVERLAP
    }
    unknown = [
        record
        for record in _unknown(timeline, timeline.segments)
        if record.client and record.perturbation not in of_known
    ]
    for found in failed_connect.attributions(unknown, timeline.requests.values()):
        timeline.attributions[str(found.request)].append(found)


def _attribute_alone(timeline: Timeline) -> None:
    """In a sweep's probes, whose requests come one at a time, what nobody else knows."""
    steady = timeline.find("steady")
    if steady is None or not any(step.probe for step in timeline.plan):
        return
    quiet = alone.quiet(steady.reached, steady.requests)
    during = [segment for segment in timeline.segments if segment.phase.phase == "during"]
    unknown = [each for each in _unknown(timeline, during) if each.type != DOWN]
    for found in alone.attributions(unknown, timeline.requests.values(), quiet):
        timeline.attributions[str(found.request)].append(found)


def _unknown(timeline: Timeline, segments: Iterable[Segment]) -> list[PerturbationBegan]:
    """The perturbations of ``segments`` of which no request is known for certain."""
    known = timeline.of_none | {
        each.perturbation
        for attributions in timeline.attributions.values()
        for each in attributions
        if each.exact
    }
    return [
        record
        for segment in segments
        for record in segment.perturbations
        if record.perturbation not in known
    ]


def _perturbs(phase: Phase) -> bool:
    return phase.phase == "during" or bool(phase.active)


def _unmixed(timeline: Timeline) -> dict[tuple[str, int], Segment]:
    """What of the mixed load belongs to each of its perturbations.

    The stretches in which it lasts, and its aftershock: those after them in which nothing else
    has begun. A request that another one's perturbation hit, and not its own, is that other
    one's.
    """
    stretches = [each for each in timeline.segments if each.phase.phase == "mixed"]
    steps = sorted({step for each in stretches for step in each.phase.active})
    plan = timeline.plan
    keys = {(plan[step].backend, plan[step].toxic): step for step in steps}
    windows: list[tuple[str, int, Segment, list[Segment]]] = []
    covering: dict[int, set[int]] = defaultdict(set)
    for step in steps:
        last = max(i for i, each in enumerate(stretches) if step in each.phase.active)
        during = [each for each in stretches if step in each.phase.active]
        there = set(during[-1].phase.active)
        rest = stretches[last + 1 :]
        begun = (i for i, each in enumerate(rest) if not there.issuperset(each.phase.active))
        after = rest[: next(begun, len(rest))]
        over = rest[0] if rest else timeline.segments[-1]
        windows += [("during", step, during[0], during), ("after", step, over, after)]
        for segment in (*during, *after):
            covering[id(segment)].add(step)
    found: dict[tuple[str, int], Segment] = {}
    for phase, step, first, chosen in windows:
        merged = Segment(replace(first.phase, phase=phase, step=step))
        for segment in chosen:
            for request in segment.requests:
                # One that is hit by what is long over belongs to what lasts now.
                owners = _owners(timeline, request, keys) & covering[id(segment)]
                if step in owners or not owners:
                    merged.requests.append(request)
            merged.perturbations += segment.perturbations
            merged.censuses = segment.censuses or merged.censuses
        found[phase, step] = merged
    return found


def _owners(
    timeline: Timeline, request: RequestEnded, keys: dict[tuple[str, str], int]
) -> set[int]:
    """The steps whose perturbations have hit ``request``."""
    records = (
        timeline.perturbations.get(attribution.perturbation)
        for attribution in timeline.attributions.get(request.request, ())
    )
    owners = (keys.get((record.proxy, record.toxic)) for record in records if record is not None)
    return {owner for owner in owners if owner is not None}
