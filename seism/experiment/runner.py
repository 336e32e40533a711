"""Runs one experiment on a session, then has its journal judged.

The journal alone decides: the runner marks the phases in it, perturbs and undoes. The load stands
still for a moment before a perturbation, and goes on when it ends: what a pause would heal is seen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seism.errors import Unavailable
from seism.experiment import cold_start, late
from seism.experiment.config import SECONDS, Experiment, Planned
from seism.experiment.doctor import examine
from seism.experiment.limit import LimitReached
from seism.experiment.plan import Step, in_order, make, stretches
from seism.experiment.session import POOL_LOOK_SECONDS, Session, Watcher
from seism.journal import INTERRUPTED
from seism.verdict.judgement import judge
from seism.verdict.pool import Pools
from seism.verdict.result import RED, UNJUDGED, Judgement
from seism.verdict.step import StepWindow
from seism.verdict.timeline import build

SETTLE_SECONDS = 0.4
"""Time for the last attributions: an observer looks again for up to a quarter of a second."""
WARM_UP = 5
"""Requests per worker before the control run; they fill pools and are not judged."""


@dataclass(slots=True)
class Run:
    """One run of ``experiment``, whose file is ``file``; reports go to ``directory``."""

    experiment: Experiment
    file: Path
    seed: int
    directory: Path
    progress: Watcher
    environ: dict[str, str] = field(default_factory=dict)
    """Further environment variables of the sidecar and the app."""
    command: tuple[str, ...] = ()
    redirect: bool = False
    allow: tuple[str, ...] = ()
    """Backends that may be perturbed whatever they look like."""
    planned: Sequence[Planned] | None = None
    """What is perturbed, in this order; None: what the file and the seed say."""
    interrupted: bool = False
    """Whether Ctrl-C or SIGTERM ended it; what there was until then has been judged."""
    limit: str = ""
    """The limit that ended it, if one did."""

    def judge(self) -> Judgement:
        """Run it all and judge it. Raises what ``Session`` raises."""
        with Session(
            self.experiment, self.file, self.seed, self.directory, self.progress, self.environ,
            self.command, self.redirect, self.allow,
        ) as session:  # fmt: skip
            try:
                try:
                    self._experiment(session)
                except LimitReached as reached:
                    self.limit = str(reached)
                    session.control.stopped(str(reached))
                except KeyboardInterrupt:
                    self._interrupt(session)
                self._end(session)
            except Unavailable as error:
                session.explain(error)
            session.finish()
            return judge(session.entries())

    def _experiment(self, session: Session) -> None:
        """Raises LimitReached; nothing is perturbed any more then."""
        control, amounts = session.control, session.load.amounts
        if self.planned is None:
            steps = make(self.experiment, self.seed)
        else:
            front = self.experiment.front is not None
            steps = in_order(self.planned, session.load, front=front)
            control.plan([step.to_dict() for step in steps])
        self.progress.phase("control run: the steady state")
        session.phase("warmup")
        control.census()
        session.send("warmup", WARM_UP)
        self._segment(session, "steady", None, "", amounts.steady)
        if not judge(session.entries()).steady.met:
            self._diagnose(session)
            return
        for place, step in enumerate(steps):
            if late.is_sized(step.planned):
                planned = late.sized(step.planned, session.entries())
                step = steps[place] = replace(step, planned=planned)
                control.plan([each.to_dict() for each in steps])
            if step.planned.at is None:
                self._step(session, step, len(steps))
        self._mixed(session, [step for step in steps if step.planned.at is not None], len(steps))
        if amounts.again:
            self.progress.phase("control run: once more, without perturbations")
            self._segment(session, "control", None, "", amounts.again)
        so_far = judge(session.entries())
        if so_far.never_fired or so_far.colour in UNJUDGED:
            self._diagnose(session)

    def _diagnose(self, session: Session) -> None:
        """Journal why nothing was proven, and what to do about it."""
        self.progress.phase("looking for the reason")
        session.control.diagnosis([finding.text for finding in examine(session)])

    def _interrupt(self, session: Session) -> None:
        """Somebody wants it to end: nothing is perturbed any more, what there is is judged."""
        self.interrupted = True
        self.progress.phase("interrupted: what there is so far is judged")
        session.control.stopped(INTERRUPTED)
        session.end_load()

    @staticmethod
    def _end(session: Session) -> None:
        time.sleep(SETTLE_SECONDS)
        session.phase("end")

    def _step(self, session: Session, step: Step, total: int) -> None:
        name, route, control = step.planned.name, session.route(step), session.control
        amounts = session.load.amounts
        during, after = amounts.during, amounts.after
        if route is not None:
            # Alone: each turn on the proxy is this route's, and the n-th is its n-th exchange.
            during, after = step.during, step.after
            session.phase("warmup")
            session.send(f"{name}: before", step.planned.occurrence - 1, route)
        self.progress.step(step.index + 1, total, name, "perturbed")
        cold = step.planned.cold_start
        if cold:
            driven = cold_start.drive(session, step, amounts.during, amounts.after)
        else:
            session.phase("during", step.index, name)
            if route is None and session.flows:
                driven = self._flow(session, step, total)
            else:
                driven = self._in_phases(session, step, total, during, after)
        control.census()
        deaf = session.await_consumers(step.index)
        unstarted = cold and not driven
        gone = unstarted or session.app_is_gone(step.index, driven if route is None else None)
        last = step.index + 1 == total
        if session.has_ended() or unstarted or ((gone or deaf or session.broken) and not last):
            # The next one begins when the app is well. After the last one the control run shows
            # whether it ever will be.
            session.phase("warmup", step.index + 1)
            session.start_app()
            session.send("warmup", WARM_UP)
        else:
            self._await_pools(session, step)
        self._count_red(session)

    def _flow(self, session: Session, step: Step, total: int) -> dict[str, Any]:
        """The perturbation ends in the middle of the load; the aftershock's totals."""
        name, amounts = step.planned.name, session.load.amounts
        with session.perturbed(step):
            counts = int(amounts.during), int(amounts.after)
            session.flow(f"{name}: during", *counts, step.planned.lasting)
            session.control.census()
        session.phase("after", step.index, name, flowing=True)
        self.progress.step(step.index + 1, total, name, "aftershock")
        return session.flow_on(f"{name}: after")

    def _in_phases(
        self, session: Session, step: Step, total: int, during: float, after: float
    ) -> dict[str, Any]:
        """The load stands still between the perturbation and its aftershock."""
        name, route = step.planned.name, session.route(step)
        with session.perturbed(step):
            least_s = step.planned.lasting if route is None else 0
            driven = session.drive(f"{name}: during", during, route, least_s=least_s)
            session.control.census()
        session.settle(driven)
        self.progress.step(step.index + 1, total, name, "aftershock")
        session.phase("after", step.index, name)
        return session.aftershock(f"{name}: after", after, route)

    def _mixed(self, session: Session, steps: Sequence[Step], total: int) -> None:
        """One load, over which the scheduled ``steps`` come and go."""
        if not steps:
            return
        unit, active = steps[0].planned.unit, list[Step]()
        load = session.load
        after = load.after_seconds if unit == SECONDS and not load.locust else load.amounts.after
        try:
            for stretch in stretches(steps, after):
                for step in stretch.ends:
                    active.remove(step)
                    session.undo(step.planned)
                session.phase("mixed", active=[step.index for step in stretch.active])
                for step in stretch.begins:
                    self.progress.step(step.index + 1, total, step.planned.name, "mixed load")
                    active.append(step)
                    session.begin(step.planned)
                driven = session.drive("mixed", stretch.length, None, unit)
                session.control.census()
                session.settle(driven)
                if stretch.ends:
                    self._count_red(session)
        finally:
            for step in active:
                session.undo(step.planned)

    def _count_red(self, session: Session) -> None:
        if session.guarded.counts_red:
            cells = judge(session.entries()).cells
            session.guarded.red({cell.perturbation for cell in cells if cell.colour == RED})

    def _await_pools(self, session: Session, step: Step) -> None:
        """Give pools that open connections by themselves the time to do so."""
        until = time.monotonic() + self.experiment.rules.pool_seconds
        while self._pool_waits(session, step) and time.monotonic() < until:
            time.sleep(POOL_LOOK_SECONDS)
            session.control.census()

    @staticmethod
    def _pool_waits(session: Session, step: Step) -> bool:
        window = StepWindow.of(build(session.entries()), step.index)
        return bool(Pools(window).missing())

    def _segment(
        self, session: Session, phase: str, step: int | None, name: str, requests: float,
        route: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        session.phase(phase, step, name)
        driven = session.send(f"{name}: {phase}" if name else phase, requests, route)
        session.control.census()
        return driven
