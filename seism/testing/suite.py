"""``pytest --seism``: your own tests are the load.

Each test that makes requests is a route. Workers run it unperturbed, under each perturbation of
each exchange with each backend, and unperturbed again. What its requests came to is judged; what
the test asserts is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from seism.errors import ConfigurationError
from seism.experiment import rewrite, safety
from seism.experiment.config import Experiment, fill, load, placeholders
from seism.experiment.perturbation import SWEPT
from seism.report.summary import headline
from seism.report.text import clean, count
from seism.report.writer import write
from seism.testing.clients import Seen
from seism.testing.probe import LEFT, MAX_TURNS, Attempt, Order
from seism.testing.sidecar import Running, sidecar
from seism.verdict.result import (
    AMBER,
    GREEN,
    NOT_COVERED,
    RED,
    SEVERITY,
    Cell,
    Judgement,
    Steady,
)

OUTAGE = "down"
TRIED = (OUTAGE, "reset", "reply lost", "slow")
"""Of what a sweep tries, the most telling first."""
HANG_S = 60.0
"""A test that takes longer under one perturbation hangs."""
HONEST = (502, 503, 504)
"""Statuses that say that a backend is away."""


@dataclass(slots=True)
class Suite:
    """One run over the tests that ``arguments`` of pytest select."""

    file: Path
    arguments: Sequence[str]
    budget_s: float
    experiment: Experiment
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    """By the name of the perturbation."""
    hung: list[tuple[str, str]] = field(default_factory=list)
    """Test and perturbation of which there is no end."""
    untried: list[str] = field(default_factory=list)
    """Perturbations for which there was no time left, at least for some tests."""
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, file: Path, arguments: Sequence[str], budget_s: float) -> Suite:
        """Raises ConfigurationError."""
        experiment = load(file)
        if not experiment.backend:
            raise ConfigurationError(f"{file}: expected a [[backend]]")
        safety.refuse(experiment.backend, set(experiment.limits.allow), str(file))
        return cls(file, arguments, budget_s, experiment)

    def judge(self) -> Judgement:
        """Run it all."""
        end = time.monotonic() + self.budget_s
        with tempfile.TemporaryDirectory(prefix="seism-") as folder:
            with sidecar(Path(folder), seed=self.experiment.seed) as running:
                self._prepare(running)
                for name in TRIED:
                    for backend in self.experiment.backend:
                        self._try(running, Path(folder), backend.name, name, end)
        return self._judgement()

    def _prepare(self, running: Running) -> None:
        """The proxies, and an environment in which their addresses are those of the backends."""
        for backend in self.experiment.backend:
            running.create(backend.name, backend.upstream, protocol=backend.protocol)
        proxies = {name: shown["listen"] for name, shown in running.proxies().items()}
        values = {"port": "0"}
        for name, listen in proxies.items():
            values |= placeholders(name, listen)
        app = self.experiment.app
        own = {} if app is None else app.env
        env = dict(os.environ)
        env |= {key: fill(text, values, f"{self.file}: app.env") for key, text in own.items()}
        if app is None or app.rewrite:
            upstreams = {each.name: each.upstream for each in self.experiment.backend}
            rewrite.Rewriter(rewrite.places(upstreams, proxies)).settings(env, "environment")
        self.environment = env

    def _try(self, running: Running, folder: Path, backend: str, name: str, end: float) -> None:
        """All tests under one perturbation of one backend, with as many workers as it takes."""
        (swept,) = (each for each in SWEPT if each.name == name)
        toxic = {} if name == OUTAGE else {**asdict(swept.toxic()), "name": "seism"}
        known = [each.upstream for each in self.experiment.backend]
        listens = [shown["listen"] for shown in running.proxies().values()]
        column = f"{backend} {name}"
        attempts = self.attempts.setdefault(column, [])
        order = Order(
            running.address, running.token, str(running.journal), str(folder / "output"),
            backend, column, toxic, (*known, *listens),
        )  # fmt: skip
        while True:
            if time.monotonic() > end:
                self.untried.append(column)
                return
            found = self._work(order, folder, end)
            running.reset()  # a worker that was killed may have left its toxic
            attempts += found.attempts
            if found.stopped == "hang":
                self.hung.append((found.test, _column(column, found.turn)))
            elif found.stopped != "left":
                self.untried += [column] if found.stopped == "budget" else []
                return
            # One that hangs by itself is left out.
            order = _behind(order, found.test, found.turn or MAX_TURNS)

    def _work(self, order: Order, folder: Path, end: float) -> Worked:
        """One worker, until it ends or is ended."""
        file, output = folder / "order.json", Path(order.output)
        file.write_text(json.dumps(asdict(order)), encoding="utf-8")
        output.write_text("", encoding="utf-8")
        argv = [
            *(sys.executable, "-m", "pytest", *self.arguments, "--seism-worker", str(file)),
            *("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "-q"),
        ]
        with open(folder / "worker.log", "ab") as log:
            child = subprocess.Popen(
                argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        size, moved, stopped = 0, time.monotonic(), ""
        try:
            while child.poll() is None:
                time.sleep(0.05)
                now, grown = time.monotonic(), output.stat().st_size
                if grown != size:
                    size, moved = grown, now
                if now > end or now - moved > HANG_S:
                    stopped = "budget" if now > end else "hang"
                    break
        finally:
            if child.poll() is None:
                os.killpg(child.pid, 9)
            child.wait()
        found = Worked.of(output)
        if child.returncode == LEFT:
            stopped = "left"
        elif not stopped and child.returncode not in (0, 1, 5):
            tail = (folder / "worker.log").read_text("utf-8", "replace").strip().splitlines()
            raise ConfigurationError(f"pytest ended with {child.returncode}: {' '.join(tail[-3:])}")
        found.stopped = stopped
        return found

    def _judgement(self) -> Judgement:
        cells, tests = list(_cells(self.attempts, self.hung)), dict[str, None]()
        for attempts in self.attempts.values():
            tests |= dict.fromkeys(each.test for each in attempts)
        plain = [each for found in self.attempts.values() for each in found if each.turn < 0]
        saved = len({each.test for each in plain if each.pruned})
        warnings = []
        if saved:
            what = "which makes" if saved == 1 else "which make"
            equal = count(saved, "test")
            warnings.append(f"not tried: {equal}, {what} the same requests as others")
        if self.untried:
            warnings.append(f"the budget of {self.budget_s:g} s was over before: {self.untried[0]}")
        failing = sorted({each.test for each in plain if not each.passed})
        warnings += [f"{test}: it fails unperturbed, and was not tried" for test in failing[:10]]
        met = bool(cells)
        reason = "" if met else "no test that passes makes requests for which a backend is asked"
        colour = max((cell.colour for cell in cells), key=SEVERITY.__getitem__, default=NOT_COVERED)
        columns = tuple(dict.fromkeys(cell.perturbation for cell in cells))
        routes = tuple(dict.fromkeys(cell.route for cell in cells))
        return Judgement(
            seed=self.experiment.seed, plan=(), colour=colour,
            steady=Steady(met, reason, sum(len(each.before) for each in plain)),
            routes=routes, perturbations=columns, cells=tuple(cells), cases=(),
            warnings=tuple(warnings),
        )  # fmt: skip


def run(
    file: Path, arguments: Sequence[str], budget_s: float, directory: Path,
    say: Callable[[str], object],
) -> int:  # fmt: skip
    """Judge the tests, write the reports; the exit code is that of ``seism run``."""
    suite = Suite.of(file, arguments, budget_s)
    for backend in suite.experiment.backend:
        say(f"{backend.name} ({backend.upstream}) will be made slow, broken and unreachable")
    judgement = suite.judge()
    for cell in judgement.cells:
        if cell.colour in (RED, AMBER):
            why = "; ".join(cell.reasons)
            say(clean(f"{cell.colour}: {cell.route} under {cell.perturbation}: {why}", 400))
    for warning in judgement.warnings:
        say(clean(f"warning: {warning}", 400))
    say(clean(headline(judgement)))
    paths = write(judgement, directory)
    say(f"reports: {', '.join(map(str, paths.values()))}")
    return judgement.exit_code()


@dataclass(slots=True)
class Worked:
    """What one worker said."""

    attempts: list[Attempt]
    test: str = ""
    turn: int = 0
    """The last ones that it began."""
    stopped: str = ""
    """``left``, ``hang``, ``budget``; empty: it came to its end."""

    @classmethod
    def of(cls, output: Path) -> Worked:
        found = cls([])
        for line in output.read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            if "begun" in said:
                found.test, found.turn = said["begun"], 0
            found.turn = said.get("turn", found.turn)
            if "attempt" in said:
                found.attempts.append(_attempt(said["attempt"]))
        return found


def _attempt(values: Mapping[str, Any]) -> Attempt:
    seen = {key: [Seen(**each) for each in values[key]] for key in ("before", "during", "after")}
    return Attempt(**{**values, **seen})


def _behind(order: Order, test: str, turn: int) -> Order:
    return Order(**{**asdict(order), "after": test, "turn": turn})


def _column(name: str, turn: int) -> str:
    return f"{name} #{turn}" if turn > 0 else name


def _cells(
    attempts: Mapping[str, Sequence[Attempt]], hung: Sequence[tuple[str, str]]
) -> Iterator[Cell]:
    for name, found in attempts.items():
        for each in found:
            if each.turn >= 0:
                colour, reasons = verdict(each)
                column, made = _column(name, each.turn), len(each.during)
                yield Cell(each.test, column, colour, tuple(reasons), made, made, 0)
    for test, column in hung:
        reason = f"hang: it did not end within {HANG_S:g} s"
        yield Cell(test, column, RED, (reason,), 1, 1, 0)


def verdict(attempt: Attempt) -> tuple[str, list[str]]:
    """Colour and reasons of one test under one perturbation; what it asserts plays no part."""
    if not attempt.during:
        return NOT_COVERED, ["it made no request: what it did itself was perturbed"]
    found: list[tuple[str, str]] = []
    for usual, seen in zip(attempt.before, attempt.during, strict=False):
        found += _odd(usual, seen)
    if attempt.recovers:
        for usual, seen in zip(attempt.before, attempt.after, strict=False):
            found += [(RED, f"not recovered: {why}") for _, why in _odd(usual, seen)]
    colour = max((each for each, _ in found), key=SEVERITY.__getitem__, default=GREEN)
    return colour, list(dict.fromkeys(why for _, why in found))


def _odd(usual: Seen, seen: Seen) -> Iterator[tuple[str, str]]:
    """What a request came to that it did not come to before."""
    failed = seen.status >= 500 > usual.status and seen.status not in HONEST
    if seen.exception and not usual.exception:
        yield RED, f"{usual.name}: {seen.exception} left the app"
    elif failed or (300 <= seen.status < 500 and seen.status != usual.status):
        yield RED, f"{usual.name}: {seen.status} instead of {usual.status}"
    elif seen.status == usual.status < 300 and seen.digest != usual.digest:
        yield AMBER, f"{usual.name}: another content"
