"""Systematic, not random: each route x backend x exchange x toxic, one at a time.

What there is to perturb is learnt from requests that nothing perturbs: which backends a
route talks to, and in how many sends. Each probe then perturbs one exchange of one request
of that route, a few times over, and looks at what follows. The journal is judged as any
other one. What was not tried is listed with the reason, and is never green. At last there
are pairs of perturbations, as far as what was seen makes them worth it.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seism.errors import ConfigurationError, NotReady, Unavailable
from seism.experiment import cold_start, late
from seism.experiment.config import Experiment, Planned
from seism.experiment.doctor import examine
from seism.experiment.limit import LimitReached
from seism.experiment.pairs import Chosen, Pair, choose
from seism.experiment.plan import Step
from seism.experiment.point import UNFIT, Learnt, Point, learnt_of, points
from seism.experiment.session import Session, failures
from seism.journal import INTERRUPTED
from seism.model import DOWN
from seism.protocols.base import AUTH, CONNECT
from seism.protocols.fault import Fault
from seism.registry import load
from seism.verdict.alone import IDLE_SECONDS
from seism.verdict.judgement import judge
from seism.verdict.result import GREEN, NEVER, NOT_COVERED, RED, SEVERITY, Cell, Judgement
from seism.verdict.timeline import build as timeline_of
from seism_middleware.contract import PerturbationBegan, PerturbationEnded, PerturbedExchange

WARM_UP = 2
"""Requests of a route that fill its pools, and are not judged."""
THREADS = 12
"""Requests after a start: more than a server usually has threads."""
CROWD = 8
"""Requests of each worker where all send at once."""
LONG_SECONDS = 2.5
"""A request that took longer is not repeated: it would be no other verdict."""
NAME_LIMIT = 40
"""Characters of an exchange's name in a column."""
NO_PAIRS = Chosen((), 0, {})
FEWER = "the route makes fewer exchanges that can meet it"
STOPPED = "the sweep was stopped before it: seism sweep --resume"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found."""

    judgement: Judgement
    """One cell for each point: route x perturbation of one exchange."""
    grid: int
    """How many probes it would take to try everything everywhere."""
    tried: int
    saved: dict[str, int]
    """Reason -> how many probes it saved."""
    unreachable: int
    pairs: Chosen = NO_PAIRS
    """Those that were tried, too, and what there might have been."""
    interrupted: bool = False
    """Ctrl-C or SIGTERM ended it; what there was until then has been judged."""

    @property
    def stopped(self) -> bool:
        """Whether there are probes left that ``--resume`` would make."""
        return self.interrupted or STOPPED.partition(":")[0] in self.saved

    def collapsed(self) -> Judgement:
        """The same by route x backend x toxic, the worst exchange of each."""
        cells: dict[tuple[str, str], Cell] = {}
        for cell in self.judgement.cells:
            column = re.sub(r" #\d+( \([^)]*\))?", "", cell.perturbation)
            cell = replace(cell, perturbation=column)
            before = cells.get((cell.route, column))
            if before is None or SEVERITY[cell.colour] > SEVERITY[before.colour]:
                cells[cell.route, column] = cell
        columns = dict.fromkeys(column for _, column in cells)
        return replace(self.judgement, cells=tuple(cells.values()), perturbations=tuple(columns))

    def lines(self) -> Iterator[str]:
        """Its coverage in words."""
        reached = f", {self.unreachable} of them reached nothing" if self.unreachable else ""
        yield f"{self.tried} of {self.grid} possible probes were made{reached}"
        if self.stopped:
            yield "stopped before the end: seism sweep --resume goes on"
        for reason, count in self.saved.items():
            yield f"{count} saved: {reason}"
        if self.pairs.possible:
            yield f"{len(self.pairs.pairs)} of {self.pairs.possible} possible pairs were tried"
        for reason, count in self.pairs.saved.items():
            yield f"{count} pairs saved: {reason}"


def write_coverage(swept: Swept, path: Path, **more: Any) -> None:
    """What was tried, and what was not, with the reasons, and ``more``: JSON, for scripts."""
    values = {
        **more,
        "grid": swept.grid,
        "tried": swept.tried,
        "unreachable": swept.unreachable,
        "saved": swept.saved,
        "pairs": {
            "possible": swept.pairs.possible,
            "tried": len(swept.pairs.pairs),
            "saved": swept.pairs.saved,
        },
        "not_covered": [
            {"route": cell.route, "perturbation": cell.perturbation, "why": cell.reasons[0]}
            for cell in swept.judgement.cells
            if cell.colour == NOT_COVERED
        ],
    }
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def run(
    session: Session,
    without: Sequence[str] = (),
    earlier: Mapping[tuple[str, str], Cell] | None = None,
) -> Swept:
    """Sweep; the session is finished afterwards. ``without``: names of toxics not to try.

    ``earlier``: what a sweep that was stopped has found, by route and column; it is not tried
    again. A limit, or an interrupt, stops this one, and what it has is judged.

    Raises NotReady if there is no steady state, and what ``Session`` raises.
    """
    probes = _Probes(session, without, earlier or {})
    try:
        try:
            probes.make()
        except LimitReached as reached:
            session.control.stopped(str(reached))
        except KeyboardInterrupt:
            probes.interrupted = True
            session.control.stopped(INTERRUPTED)
            session.end_load()
        session.phase("end")
    except Unavailable as error:
        session.explain(error)
    session.finish()
    return probes.result(judge(session.entries()))


class _Probes:
    """What is to be tried, and how far it has come."""

    def __init__(
        self, session: Session, without: Sequence[str], earlier: Mapping[tuple[str, str], Cell]
    ) -> None:
        self._session = session
        self._without = without
        self._earlier = earlier
        self._points: list[Point] = []
        self._tried: list[Point | Pair] = []
        """In the order of their steps; those that were not reached included."""
        self._made = 0
        self._exhausted: list[tuple[Learnt, str, str]] = []
        """Route, backend and fault of which there are fewer exchanges than were asked for."""
        self._beyond: set[int] = set()
        """The ids of points that so could not be met, and were not tried."""
        self._chosen = NO_PAIRS
        self.interrupted = False

    def make(self) -> None:
        """Learn, probe, and look once more without perturbations."""
        session = self._session
        learnt = _learn(session)
        self._points = list(points_of(session.experiment, learnt, self._without))
        tried: list[Point] = []
        cold: set[str] = set()  # columns of cold starts: one probe is for all routes
        for point in self._points:
            if point.skipped or (point.learnt.route, point.column) in self._earlier:
                continue
            if point.column not in cold:
                tried.append(point)
            if point.toxic.cold_start:
                cold.add(point.column)
        self._tried += tried
        steps = [_step(session, index, point) for index, point in enumerate(tried)]
        self._probe(steps)
        if not self._earlier:
            self._chosen = _pairs(session, tried)
        self._tried += self._chosen.pairs
        first = len(steps)
        steps += [_step(session, first + n, each) for n, each in enumerate(self._chosen.pairs)]
        self._probe(steps)
        _renew(session, None)
        session.phase("control")
        for index in range(len(session.load.requests)):
            session.send("control", session.experiment.sweep.learn, index)
        session.control.census()

    def _probe(self, steps: list[Step]) -> None:
        """Probe those of ``steps`` that have not been."""
        session = self._session
        session.control.plan([step.to_dict() for step in steps])
        for step in steps[self._made :]:
            point = self._tried[self._made]
            same = (point.learnt, step.planned.backend, step.planned.type)
            if same not in self._exhausted:
                first = len(session.entries())
                if late.is_sized(step.planned):
                    planned = late.sized(step.planned, session.entries())
                    step = steps[self._made] = replace(step, planned=planned)
                    session.control.plan([each.to_dict() for each in steps])
                _probe(session, step, len(steps))
                if isinstance(point, Point) and point.fault and point.turn:
                    began = (entry.record for entry in session.entries()[first:])
                    if not any(getattr(each, "toxic", "") == step.toxic for each in began):
                        self._exhausted.append(same)
            else:
                self._beyond.add(id(point))
            self._made += 1

    def result(self, judgement: Judgement) -> Swept:
        """What was found; a probe that was not finished is not covered."""
        made, left = self._tried[: self._made], self._tried[self._made :]
        unmade = {id(point) for point in left}
        cold = {each.column for each in left if isinstance(each, Point) and each.toxic.cold_start}
        unmade |= {id(point) for point in self._points if point.column in cold}
        points = [
            replace(point, skipped=STOPPED)
            if id(point) in unmade
            else replace(point, skipped=FEWER)
            if id(point) in self._beyond
            else point
            for point in self._points
        ]
        found = {}
        for point in self._points:
            cell = self._earlier.get((point.learnt.route, point.column))
            if cell is not None and not point.skipped:
                found[point.learnt.route, point.planned().name] = cell
        for each in made:
            if id(each) in self._beyond:
                continue
            planned = each.planned()
            if planned.cold_start:
                all_ = [cell for cell in judgement.cells if cell.perturbation == planned.name]
                found |= {(cell.route, planned.name): cell for cell in all_}
            elif (cell := _cell(judgement, each.learnt.route, planned.name)) is not None:
                found[each.learnt.route, planned.name] = cell
        pairs = replace(
            self._chosen, pairs=tuple(pair for pair in self._chosen.pairs if id(pair) not in unmade)
        )
        return replace(swept(judgement, points, found, pairs), interrupted=self.interrupted)


def found_before(report: Path) -> dict[tuple[str, str], Cell]:
    """What the sweep whose ``report.json`` this is has found, by route and column.

    Raises ConfigurationError if it can't be read.
    """
    try:
        cells = json.loads(report.read_text(encoding="utf-8"))["cells"]
        return {
            (cell["route"], cell["perturbation"]): Cell(
                **{**cell, "reasons": tuple(cell["reasons"]), "worst": None}
            )
            for cell in cells
            if cell["requests"] or cell["reasons"] == [NEVER]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{report}: no sweep that could be resumed: {error}") from None


def _learn(session: Session) -> list[Learnt]:
    session.progress.phase("learning which exchanges each route makes")
    options, routes = session.experiment.sweep, session.load.requests
    control = session.control
    session.phase("warmup")
    _warm_up(session)
    session.phase("steady")
    time.sleep(IDLE_SECONDS)
    control.census()  # what a backend has got by now is nobody's request's
    driven = []
    for index in range(len(routes)):
        driven.append(session.drive("steady", options.learn, index))
        control.census()
    # Afterwards, as asking how often actions were done is a request of the app, too.
    session.settle(driven[-1])
    control.census()
    judgement = judge(session.entries())
    if not judgement.steady.met:
        found = [f"  {finding.text}" for finding in examine(session)]
        raise NotReady("\n".join([judgement.steady.reason, *found]))
    sent = [request.name for request in routes]
    learnt = learnt_of(timeline_of(session.entries()), sent, options.learn)
    return [_named(session, index, one) for index, one in enumerate(learnt)]


def _named(session: Session, index: int, learnt: Learnt) -> Learnt:
    """``learnt`` with the names of its exchanges, from one more request."""
    session.phase("warmup")
    looks = [
        Planned("exchanges", backend.name, "exchange_delay", attributes={"delay": 0})
        for backend in session.experiment.backend
        if backend.protocol and learnt.sends.get(backend.name)
    ]
    if not looks:
        return learnt
    first = len(session.entries())
    for look in looks:
        session.begin(look)
    session.send("exchanges", 1, index)
    for look in looks:
        session.undo(look)
    names: dict[str, list[str]] = {look.backend: [] for look in looks}
    running: dict[str, str] = {}
    for entry in session.entries()[first:]:
        record = entry.record
        if isinstance(record, PerturbationEnded):
            running.pop(record.perturbation, None)
        if not isinstance(record, PerturbationBegan) or record.toxic != looks[0].toxic:
            continue
        if record.exchange is None or record.exchange.phase in (CONNECT, AUTH):
            continue
        if record.proxy in running.values():
            names.pop(record.proxy, None)  # pipelined: a send is several exchanges
        running[record.perturbation] = record.proxy
        if record.proxy in names:
            names[record.proxy].append(_name(record.exchange))
    known = {backend: tuple(found) for backend, found in names.items() if found}
    # A driver in C shows its calls, in which there can be several exchanges.
    sends = learnt.sends | {backend: len(found) for backend, found in known.items()}
    return replace(learnt, sends=sends, exchanges=known)


def _name(exchange: PerturbedExchange) -> str:
    """An exchange in its backend's words, in a form that a column can have."""
    return re.sub(r"[()#]", "", exchange.summary or exchange.kind)[:NAME_LIMIT].strip()


def points_of(
    experiment: Experiment, learnt: Sequence[Learnt], without: Sequence[str]
) -> Iterator[Point]:
    """Everything that could be tried on what was learnt."""
    options = experiment.sweep
    backends = [backend.name for backend in experiment.backend]
    known, toxics = load(), experiment.swept()
    # Looking up what is installed takes its time: once, and not for each point.
    fits = {(t.name, t.type, b): experiment.fits(t, b) for t in toxics for b in backends}
    types = {t.type: known.toxic(t.type) for t in toxics if t.type != DOWN}
    faults = {name: type_ for name, type_ in types.items() if issubclass(type_, Fault)}
    states = {name for name, fault in faults.items() if fault.lasts}
    states |= {type_ for type_, toxic in types.items() if toxic.established or toxic.connecting}
    states.add(DOWN)
    states |= late.CROWDED
    return (
        point
        for point in points(
            learnt, backends, toxics, options.exchanges, without,
            lambda toxic, backend: fits[toxic.name, toxic.type, backend],
            lambda toxic: toxic.type in faults,
            lambda toxic: toxic.type in states,
            lambda toxic: faults[toxic.type].swept_where if toxic.type in faults else {},
        )
        # Nobody has asked for a fault of a protocol that another backend has.
        if point.skipped != UNFIT or point.toxic in options.toxic
    )  # fmt: skip


def _step(session: Session, index: int, point: Point | Pair) -> Step:
    options = session.experiment.sweep
    partner = point.partner() if isinstance(point, Pair) else None
    return Step(index, point.planned(), options.repeat, options.after, partner=partner, probe=True)


def _pairs(session: Session, tried: Sequence[Point]) -> Chosen:
    """What the probes, one for each point that was ``tried``, leave to be seen."""
    options = session.experiment.sweep
    if not options.pairs:
        return NO_PAIRS
    entries = session.entries()
    tried = [point for point in tried if not point.toxic.cold_start]
    return choose(timeline_of(entries), judge(entries), tried, options.pairs, options.exchanges)


def _probe(session: Session, step: Step, total: int) -> None:
    label, route = step.planned.name, session.route(step)
    if step.planned.cold_start:
        _cold_start(session, step, total)
        return
    # A probe of another route may have cut this one's pooled connections.
    session.phase("warmup")
    if all(failures(session.send(f"{label}: before", WARM_UP, route)) for _ in range(2)):
        _renew(session, step.index)
    session.progress.step(step.index + 1, total, label, "perturbed")
    crowd = late.is_crowded(step.planned)
    answers = (
        _crowd(session, step)
        if crowd
        else _state(session, step)
        if lasts(step.planned.type)
        else _moments(session, step)
    )
    session.settle(answers)
    session.phase("after", step.index, label)
    after = session.aftershock(f"{label}: after", step.after, route, together=crowd)
    session.control.census()
    gone = session.app_is_gone(step.index)
    if gone or session.broken or failures(after):
        # Whatever it has not recovered from must not be the next probe's.
        _renew(session, step.index + 1)


def _cold_start(session: Session, step: Step, total: int) -> None:
    """One probe for all routes, as they are all started."""
    session.progress.step(step.index + 1, total, step.planned.name, "perturbed")
    options = session.experiment.sweep
    driven = cold_start.drive(session, step, options.repeat, options.after)
    session.control.census()
    deaf = session.await_consumers(step.index)
    if not driven or deaf or session.broken or failures(driven) or session.has_ended():
        _renew(session, step.index + 1)


def lasts(type_: str) -> bool:
    """Whether it is a state that all requests of the probe meet."""
    if type_ == DOWN:
        return True
    toxic = load().toxic(type_)
    lasts = issubclass(toxic, Fault) and toxic.lasts
    return toxic.established or toxic.connecting or lasts


def _opens(type_: str) -> bool:
    """Whether it acts where a connection begins, so that what a pool holds does not meet it."""
    toxic = None if type_ == DOWN else load().toxic(type_)
    if toxic is None or not issubclass(toxic, Fault):
        return toxic is not None and toxic.connecting
    return toxic.opens()


def _moments(session: Session, step: Step) -> dict[str, Any]:
    """Perturb one exchange of each request; in between, a request that is not perturbed has
    the pools as they were learnt.
    """
    label, route = step.planned.name, session.route(step)
    session.phase("during", step.index, label)
    for repeat in range(step.during):
        if repeat:
            session.drive(f"{label}: between", 1, route)
        with session.perturbed(step):
            answers = session.drive(f"{label}: during", 1, route)
        if _took_long(answers):
            break
    return answers


def _state(session: Session, step: Step) -> dict[str, Any]:
    """All requests meet the state; one of a connection's begin needs empty pools to be met."""
    label, route = step.planned.name, session.route(step)
    opens = _opens(step.planned.type)
    if opens:
        session.phase("warmup", step.index)
        session.end_parked(step.planned.backend)
    else:
        session.phase("during", step.index, label)
    with session.perturbed(step):
        if opens:
            # A pool that does not check fails with what it holds, which is not the question.
            session.send(f"{label}: parked", WARM_UP, route)
            session.phase("during", step.index, label)
        for _ in range(step.during):
            answers = session.drive(f"{label}: during", 1, route)
            if _took_long(answers):
                break
    return answers


def _crowd(session: Session, step: Step) -> dict[str, Any]:
    """All workers at once, as in the control run of ``seism run``: one request exhausts no pool."""
    label, route = step.planned.name, session.route(step)
    session.phase("during", step.index, label)
    with session.perturbed(step):
        return session.drive(f"{label}: during", CROWD, route, together=True)


def _took_long(answers: dict[str, Any]) -> bool:
    return any(each["max"] > LONG_SECONDS for each in answers["routes"].values())


def _renew(session: Session, step: int | None) -> None:
    """Start the app anew before ``step``."""
    session.phase("warmup", step)
    session.start_app()
    _warm_up(session)


def _warm_up(session: Session) -> None:
    """Fill the pools, those of each thread as well: servers hand requests to their threads in
    turn, and one whose thread has no connection yet makes other exchanges than were learnt.
    """
    routes = len(session.load.requests)
    for index in range(routes):
        session.send("warmup", max(WARM_UP, math.ceil(THREADS / routes)), index)


def _cell(judgement: Judgement, route: str, perturbation: str) -> Cell | None:
    """That of ``route``; a probe sends its requests alone: whatever they got belongs to it, also
    where a failure before the routing has lost the pattern.
    """
    cells = [cell for cell in judgement.cells if cell.perturbation == perturbation]
    cells.sort(key=lambda cell: (-SEVERITY[cell.colour], cell.route != route))
    return replace(cells[0], route=route) if cells else None


def swept(
    judgement: Judgement,
    points: Sequence[Point],
    found: Mapping[tuple[str, str], Cell],
    pairs: Chosen = NO_PAIRS,
) -> Swept:
    """The result from the cells that were ``found``, by route and planned perturbation."""
    cells: dict[tuple[str, str], Cell] = {}
    unreachable = 0
    names: dict[str, str] = {}
    both: list[Point | Pair] = [*points, *pairs.pairs]
    for point in both:
        key = point.learnt.route, point.planned().name
        cell = None if point.skipped else found.get(key)
        if cell is None:
            why = point.skipped or NEVER
            cell = Cell(point.learnt.route, point.column, NOT_COVERED, (why,), 0, 0, 0)
        if cell.colour == NOT_COVERED and cell.reasons == (NEVER,):
            unreachable += isinstance(point, Point)
        names[cell.perturbation] = point.column
        cell = replace(cell, perturbation=point.column)
        key = cell.route, cell.perturbation
        if key not in cells or SEVERITY[cell.colour] > SEVERITY[cells[key].colour]:
            cells[key] = cell
    columns = {point.column for point in both}
    for cell in found.values():
        # Consumers, which a cold start starts, too, have no points; others have their own names.
        if cell.perturbation in columns:
            cells.setdefault((cell.route, cell.perturbation), cell)
    saved = Counter(point.skipped.partition(":")[0] for point in points if point.skipped)
    rows = {
        planned.name: point.learnt.route for point in both if (planned := point.planned()).exact
    }
    colours = [cell.colour for cell in cells.values()] + [RED] * bool(judgement.findings)
    colours += [harm.colour for harm in judgement.harms if harm.colour != GREEN]
    return Swept(
        replace(
            judgement,
            cells=tuple(cells.values()),
            routes=tuple(sorted({route for route, _ in cells})),
            cases=tuple(
                replace(
                    case,
                    route=rows.get(case.perturbation, case.route),
                    perturbation=names[case.perturbation],
                )
                for case in judgement.cases
                if case.perturbation in names
            ),
            perturbations=tuple(dict.fromkeys(point.column for point in both)),
            plan=tuple(
                replace(step, spec=replace(step.spec, name=names.get(step.name, step.name)))
                for step in judgement.plan
            ),
            colour=max(colours, key=SEVERITY.__getitem__),
        ),
        grid=len(points),
        tried=sum(not point.skipped for point in points),
        saved=dict(saved),
        unreachable=unreachable,
        pairs=pairs,
    )
