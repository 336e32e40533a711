"""Systematic, not random: each route x backend x exchange x toxic, one at a time.

What there is to perturb is learnt from requests that nothing perturbs: which backends a
route talks to, and in how many sends. Each probe then perturbs one exchange of one request
of that route, a few times over, and looks at what follows. The journal is judged as any
other one. What was not tried is listed with the reason, and is never green. At last there
are pairs of perturbations, as far as what was seen makes them worth it.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seism.errors import NotReady, Unavailable
from seism.experiment.doctor import examine
from seism.experiment.limit import LimitReached
from seism.experiment.pairs import Chosen, Pair, choose
from seism.experiment.plan import Step
from seism.experiment.point import UNFIT, Learnt, Point, learnt_of, points
from seism.experiment.session import Session, failures
from seism.journal import INTERRUPTED
from seism.model import DOWN
from seism.protocols.fault import Fault
from seism.registry import load
from seism.verdict.alone import IDLE_SECONDS
from seism.verdict.judgement import judge
from seism.verdict.result import GREEN, NEVER, NOT_COVERED, RED, SEVERITY, Cell, Judgement
from seism.verdict.timeline import build as timeline_of

WARM_UP = 2
"""Requests of a route that fill its pools, and are not judged."""
LONG_SECONDS = 2.5
"""A request that took longer is not repeated: it would be no other verdict."""
NO_PAIRS = Chosen((), 0, {})


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
    """Whether Ctrl-C or SIGTERM ended it; what there was until then has been judged."""

    def collapsed(self) -> Judgement:
        """The same by route x backend x toxic, the worst exchange of each."""
        cells: dict[tuple[str, str], Cell] = {}
        for cell in self.judgement.cells:
            column = re.sub(r" #\d+", "", cell.perturbation)
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
        for reason, count in self.saved.items():
            yield f"{count} saved: {reason}"
        if self.pairs.possible:
            yield f"{len(self.pairs.pairs)} of {self.pairs.possible} possible pairs were tried"
        for reason, count in self.pairs.saved.items():
            yield f"{count} pairs saved: {reason}"


def write_coverage(swept: Swept, path: Path) -> None:
    """What was tried, and what was not, with the reasons: JSON, for scripts."""
    values = {
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


def run(session: Session, without: Sequence[str] = ()) -> Swept:
    """Sweep; the session is finished afterwards. ``without``: names of toxics not to try.

    Raises NotReady if there is no steady state, and what ``Session`` raises. At a limit, and
    when it is interrupted, it judges what there is.
    """
    grid = Grid()
    try:
        try:
            _try_all(session, without, grid)
        except LimitReached as reached:
            session.control.stopped(str(reached))
        except KeyboardInterrupt:
            grid.interrupted = True
            session.progress.phase("interrupted: judging what there is so far")
            session.control.stopped(INTERRUPTED)
            session.end_load()
        session.control.phase("end")
    except Unavailable as error:
        session.explain(error)
    session.finish()
    found = _result(judge(session.entries()), grid.points, grid.tried, grid.chosen)
    return replace(found, interrupted=grid.interrupted)


@dataclass(slots=True)
class Grid:
    """How far a sweep has come."""

    points: list[Point] = field(default_factory=list)
    tried: list[Point | Pair] = field(default_factory=list)
    chosen: Chosen = NO_PAIRS
    interrupted: bool = False


def _try_all(session: Session, without: Sequence[str], grid: Grid) -> None:
    learnt = _learn(session)
    grid.points = list(_points(session, learnt, without))
    tried = [point for point in grid.points if not point.skipped]
    grid.tried += tried
    steps = [_step(session, index, point) for index, point in enumerate(tried)]
    _probe_all(session, steps, 0)
    grid.chosen = _pairs(session, tried)
    pairs = grid.chosen.pairs
    grid.tried += pairs
    steps += [_step(session, index, each) for index, each in enumerate(pairs, len(steps))]
    _probe_all(session, steps, len(tried))
    _renew(session, None)
    session.control.phase("control")
    for index in range(len(session.load.route)):
        session.send("control", session.experiment.sweep.learn, index)
    session.control.census()


def _learn(session: Session) -> list[Learnt]:
    session.progress.phase("learning which exchanges each route makes")
    options, routes = session.experiment.sweep, session.load.route
    control = session.control
    control.phase("warmup")
    _warm_up(session)
    control.phase("steady")
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
    sent = [f"{route.method} {route.path}" for route in routes]
    return learnt_of(timeline_of(session.entries()), sent, options.learn)


def _points(session: Session, learnt: list[Learnt], without: Sequence[str]) -> Iterator[Point]:
    experiment, options = session.experiment, session.experiment.sweep
    backends = [backend.name for backend in experiment.backend]
    known, toxics = load(), experiment.swept()
    # Looking up what is installed takes its time: once, and not for each point.
    fits = {(t.name, b): experiment.fits(t, b) for t in toxics for b in backends}
    faults = {t.name for t in toxics if t.type != DOWN and issubclass(known.toxic(t.type), Fault)}
    return (
        point
        for point in points(
            learnt, backends, toxics, options.exchanges, without,
            lambda toxic, backend: fits[toxic.name, backend], lambda toxic: toxic.name in faults,
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
    return choose(timeline_of(entries), judge(entries), tried, options.pairs, options.exchanges)


def _probe_all(session: Session, steps: Sequence[Step], first: int) -> None:
    """Probe ``steps`` from the ``first`` on."""
    session.control.plan([step.to_dict() for step in steps])
    for step in steps[first:]:
        _probe(session, step, len(steps))


def _probe(session: Session, step: Step, total: int) -> None:
    label, route = step.planned.name, session.route(step)
    # A probe of another route may have cut this one's pooled connections.
    session.control.phase("warmup")
    if all(failures(session.send(f"{label}: before", WARM_UP, route)) for _ in range(2)):
        _renew(session, step.index)
    session.progress.step(step.index + 1, total, label, "perturbed")
    session.control.phase("during", step.index, label)
    for _ in range(step.during):
        with session.perturbed(step):
            answers = session.drive(f"{label}: during", 1, route)
        if any(each["max"] > LONG_SECONDS for each in answers["routes"].values()):
            break
    session.settle(answers)
    session.control.phase("after", step.index, label)
    after = session.send(f"{label}: after", step.after, route)
    session.control.census()
    gone = session.app_is_gone(step.index)
    if gone or failures(after):
        # Whatever it has not recovered from must not be the next probe's.
        _renew(session, step.index + 1)


def _renew(session: Session, step: int | None) -> None:
    """Start the app anew before ``step``."""
    session.control.phase("warmup", step)
    session.start_app()
    _warm_up(session)


def _warm_up(session: Session) -> None:
    for index in range(len(session.load.route)):
        session.send("warmup", WARM_UP, index)


def _result(
    judgement: Judgement, points: list[Point], tried: Sequence[Point | Pair], pairs: Chosen
) -> Swept:
    found = {}
    for point in tried:
        each = point.planned().name
        cell = _cell(judgement, point.learnt.route, each)
        if cell is not None:
            found[each] = cell
    return swept(judgement, points, found, pairs)


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
    found: Mapping[str, Cell],
    pairs: Chosen = NO_PAIRS,
) -> Swept:
    """The result from the cells that were ``found``, by the planned perturbation's name."""
    cells: dict[tuple[str, str], Cell] = {}
    unreachable = 0
    names: dict[str, str] = {}
    both: list[Point | Pair] = [*points, *pairs.pairs]
    for point in both:
        cell = None if point.skipped else found.get(point.planned().name)
        if cell is None:
            why = point.skipped or NEVER
            cell = Cell(point.learnt.route, point.column, NOT_COVERED, (why,), 0, 0, 0)
        elif cell.colour == NOT_COVERED and cell.reasons == (NEVER,):
            unreachable += isinstance(point, Point)
        names[cell.perturbation] = point.column
        cell = replace(cell, perturbation=point.column)
        key = cell.route, cell.perturbation
        if key not in cells or SEVERITY[cell.colour] > SEVERITY[cells[key].colour]:
            cells[key] = cell
    saved = Counter(point.skipped.partition(":")[0] for point in points if point.skipped)
    rows = {point.planned().name: point.learnt.route for point in both}
    colours = [cell.colour for cell in cells.values()] + [RED] * bool(judgement.findings)
    colours += [harm.colour for harm in judgement.harms if harm.colour != GREEN]
    return Swept(
        replace(
            judgement,
            cells=tuple(cells.values()),
            routes=tuple(sorted({route for route, _ in cells})),
            cases=tuple(
                replace(case, route=rows[case.perturbation], perturbation=names[case.perturbation])
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
        tried=len(found) - len(pairs.pairs),
        saved=dict(saved),
        unreachable=unreachable,
        pairs=pairs,
    )
