"""``pytest --seism``: your own tests are the load.

Each request of a test is a route. A worker runs all tests without perturbations, twice: what
is not the same both times is left out. Then each exchange of a request with a backend is perturbed,
one at a time, and the test is run again without perturbations. The journal is judged as any other
one; what the test asserts plays no part.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from seism.errors import ConfigurationError, NotReady
from seism.experiment import late, rewrite, safety
from seism.experiment.answer import Answer, Contents, Reader
from seism.experiment.config import fill, load, placeholders
from seism.experiment.inject import inject, redirect
from seism.experiment.perturbation import SweptToxic, begin, undo
from seism.experiment.plan import Step
from seism.experiment.point import Learnt, Point, sends_of
from seism.experiment.sweep import Swept, points_of, swept, write_coverage
from seism.journal import INTERRUPTED, read
from seism.report.terminal import show
from seism.report.text import clean, count
from seism.report.writer import write
from seism.testing.learning import Learning, Twins, by_sent
from seism.testing.sidecar import Running, sidecar
from seism.testing.worker import Ended, Late, Run, Worker
from seism.verdict.client_view import sent_of
from seism.verdict.judgement import judge
from seism.verdict.result import NOT_COVERED, SEVERITY, Cell, Judgement
from seism.verdict.steady_state import unreached
from seism.verdict.timeline import build as timeline_of
from seism.verdict.timeline import route_of
from seism_middleware.contract import SIDECAR_VARIABLE, TOKEN_VARIABLE

OUTAGE = "down"
FIRST = (OUTAGE, "reset", "reply lost", "cut reply")
LAST = ("slow", "silent")
"""Names of what is tried: the most telling first, what takes its time last."""
PATIENCE_S = 10.0
"""How long the client of a perturbed request waits for its answer."""
GRACE_S = 5.0
"""How long a request may go on after its perturbation is undone."""
HANG_S = 120.0
"""A test that takes longer without a perturbation is left out."""
LEARN_SHARE = 0.25
"""The share of the budget that the first run of all tests may take."""
PLAN_BYTES = 900_000
"""Of the steps of a plan, which the sidecar takes as one message."""
ATTEMPTS = 3
"""How often the control run is repeated, each time without the tests that were not steady."""
SPOILED = "the test leaves data behind that makes it fail, also in a new process"
NO_TIME = "the budget was over before it"
SETTLED = 3
"""Runs of a test as before with which a recovery is believed, after one that was not."""

PAUSE_S = 0.1
"""Between two runs of a test that is not as before."""

Say = Callable[[str], object]


class Suite:
    """One run over the tests that ``arguments`` of pytest select."""

    def __init__(
        self,
        file: Path,
        arguments: Sequence[str],
        budget_s: float,
        directory: Path,
        say: Say = lambda text: None,
        allow: Sequence[str] = (),
        again: Sequence[str] = (),
    ) -> None:
        """``directory`` is where the journal goes, ``again`` are further arguments of every worker
        but the first. Raises ConfigurationError.
        """
        if not file.exists():
            raise ConfigurationError(
                f"{file}: not found (declare each backend of the tests as [[backend]] with name, "
                "upstream and protocol; see docs/testing.md)"
            )
        self.experiment = load(file)
        if not self.experiment.backend:
            raise ConfigurationError(f"{file}: no backend (declare each as [[backend]])")
        allowed = {*self.experiment.limits.allow, *allow}
        safety.refuse(self.experiment.backend, allowed, str(file), "--seism-allow")
        safety.reach(self.experiment.backend, str(file))
        self._file = file
        self._arguments = self._rewritten = list(arguments)
        self._budget_s = budget_s
        self._directory = directory
        self._say = say
        self._end = 0.0
        self._salt = secrets.token_hex(8)
        self._contents = Contents(Reader(self._salt))
        self._control: Running
        self._worker: Worker | None = None
        self._folder = Path()
        self._environ: dict[str, str] = {}
        self._ignored: list[str] = []
        self._usual: dict[str, int | None] = {}
        """``METHOD route`` -> its status in the control run."""
        self._tests: dict[str, str] = {}
        """``METHOD route`` -> the test that requests it."""
        self._spoiled: set[str] = set()
        """Names of steps after which a test fails also in a new process."""
        self._unfit: set[str] = set()
        """Tests that are not perturbed any more, as they fail by themselves."""
        self.learning = Learning()
        self.interrupted = False
        self._again = list(again)
        self._unused: set[str] = set()
        """Backends that no test asks; a proxy that is disabled need not be reached."""
        self._prepared = 0.0
        """Seconds of the first test of all, which may make a database: not of the budget."""

    def judge(self) -> Swept:
        """Run it all. Raises NotReady if there is nothing to perturb."""
        self._end = time.monotonic() + self._budget_s
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "worker.log").unlink(missing_ok=True)
        excluded: dict[str, str] = {}
        for attempt in range(ATTEMPTS):
            with tempfile.TemporaryDirectory(prefix="seism-") as folder:
                self._folder = Path(folder)
                found = self._attempt(excluded, last=attempt == ATTEMPTS - 1)
                if found is not None:
                    return found
        raise AssertionError("the last attempt has a result")

    def _attempt(self, excluded: dict[str, str], *, last: bool) -> Swept | None:
        """All of it with a sidecar of its own; None if the control run was not steady, and the
        tests to be blamed are ``excluded`` now.
        """
        journal = self._directory / "journal.jsonl"
        journal.unlink(missing_ok=True)
        seed = self.experiment.seed
        with sidecar(
            self._folder, seed=seed, config=self._file.resolve(), journal=journal
        ) as running:
            self._control = running
            try:
                self._prepare(running)
                self._start()
                self._learn(excluded)
                points = self._steady()
                judgement = judge(read(journal))
                if not judgement.steady.met:
                    blamed, unused = self._unsteady()
                    if last or not (blamed or unused):
                        raise NotReady(judgement.steady.reason)
                    excluded |= blamed
                    self._unused |= unused
                    return None
                tried, made = self._probe_all(points)
                running.phase("end")
            finally:
                if self._worker is not None:
                    self._worker.close()
                    self._worker = None
        return self._result(judge(read(journal)), points, tried[:made], tried[made:])

    def _prepare(self, running: Running) -> None:
        """An environment in which the addresses of the proxies are those of the backends."""
        for name in self._unused:
            running.enable(name, False)
        proxies = {name: shown["listen"] for name, shown in running.proxies().items()}
        values = {"port": "0"}
        for name, listen in proxies.items():
            values |= placeholders(name, listen)
        app = self.experiment.app
        own = {} if app is None else app.env
        env = dict(os.environ)
        env |= {key: fill(text, values, f"{self._file}: app.env") for key, text in own.items()}
        upstreams = {each.name: each.upstream for each in self.experiment.backend}
        there = rewrite.places(upstreams, proxies)
        if app is None or app.rewrite:
            rewrite.Rewriter(there).settings(env, "environment")
        found = rewrite.Rewriter(there)
        self._rewritten = [found.value(each, "argument") for each in self._arguments]
        redirect(env, there)
        inject(env)
        env |= {SIDECAR_VARIABLE: running.address, TOKEN_VARIABLE: running.token}
        self._environ = env
        self._ignored = [*upstreams.values(), *proxies.values()]

    def _start(self) -> Worker:
        """A new worker, in place of the one there is."""
        again = self._worker is not None
        if self._worker is not None:
            self._worker.close()
        self._worker = Worker(
            [*self._rewritten, *(self._again if again else ())],
            self._environ,
            self._folder,
            self._ignored,
            self._salt,
            self._directory / "worker.log",
        )
        return self._worker

    def _run(self, test: str, *, calm: bool) -> Run | None:
        """One run of ``test`` without a perturbation; None if it has no end, or ends the worker."""
        worker = self._worker or self._start()
        cold, began = not worker.is_warm, time.monotonic()
        try:
            worker.run(test)
            run = worker.result(HANG_S)
        except (Late, Ended):
            self._start()
            return None
        if cold and not self._prepared:
            self._prepared = time.monotonic() - began
            self._end += self._prepared
        self._journal(run.rows, calm=calm)
        self._tests |= dict.fromkeys(run.statuses, test)
        return run

    def _journal(self, rows: Iterable[list[Any]], *, calm: bool) -> None:
        """What the clients saw; ``calm``: nothing is perturbed."""
        told = []
        for *row, parts in rows:
            content = self._contents.told(row[1], Answer(parts=parts), calm=calm)
            told.append([*row, "", *content])
        if told:
            self._control.clients(told)

    def _learn(self, excluded: dict[str, str]) -> None:
        """Which tests there are, and what their requests ask of which backend."""
        worker = self._worker
        assert worker is not None
        self._say(f"learning what {count(len(worker.tests), 'test')} ask of the backends")
        began = time.monotonic()
        found = self.learning = Learning(worker.tests, failing=dict(excluded))
        self._control.phase("warmup")
        runs: dict[str, Run] = {}
        for index, test in enumerate(found.tests):
            spent = time.monotonic() - began - self._prepared
            if spent > LEARN_SHARE * self._budget_s:
                found.unlearnt = len(found.tests) - index
                break
            if test in excluded:
                continue
            run = self._run(test, calm=True)
            if run is None:
                found.failing[test] = f"it did not end within {HANG_S:g} s, or ended its process"
            elif not run.passed:
                found.failing[test] = run.failed or "it was skipped"
            elif bad := _failed(run):
                found.failing[test] = f"its request {bad} fails by itself"
            elif run.rows:
                runs[test] = run
        self._control.census()
        segment = timeline_of(read(self._control.journal)).find("warmup")
        asked = by_sent(segment)
        twins = Twins()
        busy = {name for name, request in asked.items() if sends_of([request])}
        for test, run in runs.items():
            mine = [name for name in run.statuses if name in busy]
            are_twins = [twins.is_one(name, asked[name]) for name in mine]
            if not all(are_twins):
                found.chosen.append(test)
                twins.count -= sum(are_twins)  # they are looked at again
        found.saved = twins.count
        found.idle = len(found.tests) - found.unlearnt - len(found.failing)
        found.idle -= sum(bool(busy & run.statuses.keys()) for run in runs.values())
        if not found.chosen:
            raise NotReady(self._nothing(found))

    def _nothing(self, found: Learning) -> str:
        names = " or ".join(each.name for each in self.experiment.backend)
        said = f"no test that passes makes a request that asks {names}"
        if found.failing:
            test, why = next(iter(found.failing.items()))
            said += f"; {count(len(found.failing), 'test')} left out, such as {test}: {why}"
        return f"{said}; do the tests find the backend where {self._file} says that it is?"

    def _steady(self) -> list[Point]:
        """The control run; what could be tried on what it shows."""
        self._say(f"control run of {count(len(self.learning.chosen), 'test')}")
        control = self._control
        control.phase("steady")
        control.census()
        for test in self.learning.chosen:
            run = self._run(test, calm=True)
            if run is not None:
                self._usual |= run.statuses
        control.census()
        segment = timeline_of(read(control.journal)).find("steady")
        twins, learnt = Twins(), []
        for name, request in by_sent(segment).items():
            if sends_of([request]) and not twins.is_one(name, request):
                learnt.append(Learnt(name, route_of(request), sends_of([request])))
        self.learning.saved += twins.count
        if not learnt:
            raise NotReady(self._nothing(self.learning))
        names = [each.name for each in self.experiment.swept()]
        without = [each.name for each in self.experiment.swept() if not _suits_a_test(each)]
        found = [
            point
            for point in points_of(self.experiment, learnt, without)
            if _suits_a_test(point.toxic)
        ]
        # The first exchange of each request before the second of any.
        return sorted(
            found,
            key=lambda point: (
                _order(point.toxic.name),
                names.index(point.toxic.name),
                point.turn,
            ),
        )

    def _unsteady(self) -> tuple[dict[str, str], set[str]]:
        """Tests that keep the control run from being steady, and why; backends that none asks."""
        timeline = timeline_of(read(self._control.journal))
        segment = timeline.find("steady")
        blamed = {}
        for request in segment.requests if segment is not None else ():
            sent = sent_of(request)
            if sent is not None and (request.status or 500) >= 500:
                blamed[self._tests[sent.route]] = "its requests fail now and then by themselves"
        return blamed, set(unreached(timeline))

    def _probe_all(self, points: Sequence[Point]) -> tuple[list[Point], int]:
        """Those that are tried, and how many of them there was time for."""
        tried = [point for point in points if not point.skipped]
        fit = _fitting(tried)
        tried, beyond = tried[:fit], tried[fit:]
        steps = [
            Step(index, point.planned(), 1, 1, probe=True) for index, point in enumerate(tried)
        ]
        self._control.plan([step.to_dict() for step in steps])
        last = ""
        for step, point in zip(steps, tried, strict=True):
            if time.monotonic() > self._end or self.interrupted:
                return [*tried, *beyond], step.index
            if point.toxic.name != last:
                last = point.toxic.name
                many = sum(each.toxic.name == last for each in tried)
                self._say(f"{last}: {count(many, 'perturbation')}")
            test = self._tests[point.learnt.sent]
            if test not in self._unfit:
                try:
                    self._probe(step, point, test)
                except KeyboardInterrupt:
                    self._control.stopped(INTERRUPTED)
                    self.interrupted = True
        return [*tried, *beyond], len(tried)

    def _probe(self, step: Step, point: Point, test: str) -> None:
        """Perturb one request of ``test``, and look at what follows."""
        control, index, name = self._control, step.index, step.planned.name
        worker = self._worker or self._start()
        control.phase("warmup")
        try:
            worker.run(test, perturb=point.learnt.sent)
            first = worker.hear(HANG_S)
            if "begins" not in first:
                return  # the test went another way
            control.phase("during", index, name)
            if not self._perturbed(step, worker, first["begins"]):
                self._renew(index)
            control.phase("after", index, name)
        except Late:
            self._renew(index)
            return
        except Ended:
            control.app_ended(index, worker.code(), worker.tail())
            self._renew(index)
            return
        self._after(step, test)
        control.census()

    def _perturbed(self, step: Step, worker: Worker, begins: Sequence[str]) -> bool:
        """One request while the perturbation lasts, to the end of its test.

        False: neither has ended, although it lasts no longer.
        """
        begin(self._control, step.planned)
        began = time.monotonic()
        worker.go_on()
        try:
            said = worker.hear(PATIENCE_S)
        except Late:
            id_, route = begins
            row = [id_, route, began, PATIENCE_S, "timed out", None, "", "", {}]
            self._journal([row], calm=False)
            said = {}
        finally:
            undo(self._control, step.planned)
        if "ended" in said:
            self._journal([said["ended"]], calm=False)
        try:
            said = said or worker.hear(GRACE_S)
            if "done" not in said:
                worker.go_on()
                worker.result(HANG_S)
        except Late:
            return False
        return True

    def _after(self, step: Step, test: str) -> None:
        """The test again, until it is as before, or has had its time."""
        until = time.monotonic() + self.experiment.rules.recover_s
        good, needed = 0, 1
        while good < needed:
            over = time.monotonic() > until
            run = self._run(test, calm=False)
            if run is None:
                self._renew(step.index)
                return
            if self._as_before(run):
                good += 1
                continue
            if over:
                break
            good, needed = 0, SETTLED
            time.sleep(PAUSE_S)
        else:
            return
        # What is left in its data is not the app's state: does a new process do better?
        self._renew(step.index)
        again = self._run(test, calm=False)
        if again is None or not self._as_before(again):
            self._spoiled.add(step.planned.name)
            self._unfit.add(test)

    def _as_before(self, run: Run) -> bool:
        known = self._usual
        return run.passed and all(known.get(name) == got for name, got in run.statuses.items())

    def _renew(self, index: int) -> None:
        """A new process; what it does is nobody's aftershock."""
        self._start()
        self._control.phase("warmup", index + 1)

    def _result(
        self,
        judgement: Judgement,
        points: Sequence[Point],
        made: Sequence[Point],
        unmade: Sequence[Point],
    ) -> Swept:
        found: dict[tuple[str, str], Cell] = {}
        for point in made:
            name = point.planned().name
            key = point.learnt.route, name
            mine = [cell for cell in judgement.cells if cell.perturbation == name]
            own = [cell for cell in mine if cell.route == point.learnt.route]
            cell = _worst(mine, own)
            if cell is not None:
                found[key] = replace(cell, route=point.learnt.route)
            if name in self._spoiled and cell is not None:
                found[key] = replace(found[key], colour=NOT_COVERED, reasons=(SPOILED,), worst=None)
        result = swept(judgement, made or points, found)
        warnings = [*result.judgement.warnings, *self._warnings(len(unmade))]
        saved = Counter(point.skipped.partition(":")[0] for point in points if point.skipped)
        if unmade:
            saved[NO_TIME] += len(unmade)
        return replace(
            result,
            grid=len(points),
            saved=dict(saved),
            judgement=replace(result.judgement, warnings=tuple(warnings)),
        )

    def lines(self, found: Swept) -> Iterator[str]:
        """Coverage in words."""
        counts = self.learning.counts()
        yield (
            f"{counts['ran']} of {count(counts['all'], 'test')} ran: {counts['perturbed']} "
            f"perturbed, {counts['idle']} ask no backend in a request, {counts['left_out']} "
            "left out"
        )
        if counts["saved"]:
            what = count(counts["saved"], "request")
            yield f"{what} saved: the same method, path, status and exchanges as an earlier one"
        yield from found.lines()

    def _warnings(self, unmade: int) -> list[str]:
        found, lines = self.learning, []
        lines += [f"backend {name!r}: no test asks it" for name in sorted(self._unused)]
        if found.unlearnt:
            lines.append(f"{count(found.unlearnt, 'test')} not run: the budget is too small")
        if unmade:
            left = count(unmade, "perturbation")
            lines.append(f"{left} not tried: the budget of {self._budget_s:g} s was over")
        for test, why in list(found.failing.items())[:10]:
            lines.append(f"{test}: left out: {why}")
        if len(found.failing) > 10:
            lines.append(f"{len(found.failing) - 10} more tests were left out")
        return [clean(line, 400) for line in lines]


def _worst(cells: Sequence[Cell], own: Sequence[Cell]) -> Cell | None:
    ordered = sorted(cells, key=lambda cell: (-SEVERITY[cell.colour], cell not in own))
    return ordered[0] if ordered else None


def _fitting(points: Sequence[Point]) -> int:
    """How many of ``points``, from the first on, one plan can hold."""
    size = 0
    for index, point in enumerate(points):
        step = Step(index, point.planned(), 1, 1, probe=True)
        size += len(json.dumps(step.to_dict())) + 1
        if size > PLAN_BYTES:
            return index
    return len(points)


def _failed(run: Run) -> str:
    """The first request that fails without a perturbation."""
    return next((row[1] for row in run.rows if (row[5] or 500) >= 500), "")


def _suits_a_test(toxic: SweptToxic) -> bool:
    """Whether one request can show it: no start of the app, no crowd, no new connection."""
    return not toxic.cold_start and toxic.type not in (*late.CROWDED, "accept_close")


def _order(name: str) -> int:
    """The place of a toxic among the others."""
    if name in FIRST:
        return FIRST.index(name)
    return len(FIRST) + 1 + LAST.index(name) if name in LAST else len(FIRST)


def run(
    file: Path,
    arguments: Sequence[str],
    budget_s: float,
    directory: Path,
    say: Say,
    allow: Sequence[str] = (),
    again: Sequence[str] = (),
) -> int:
    """Judge the tests, write the reports and show them; the exit code is that of ``seism run``."""
    suite = Suite(file, arguments, budget_s, directory, say, allow, again)
    for backend in suite.experiment.backend:
        say(f"{backend.name} ({backend.upstream}) will be made slow, broken and unreachable")
    found = suite.judge()
    paths = write(found.judgement, directory)
    show(found.judgement, Console(), paths=paths.values(), matrix=found.collapsed())
    write_coverage(found, directory / "coverage.json", tests=suite.learning.counts())
    for line in suite.lines(found):
        say(clean(line))
    return found.judgement.exit_code()
