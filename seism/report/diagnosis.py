"""One weakness in words: what all reports say of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from seism.report.advice import Advice, advice
from seism.report.summary import answer, cause, harm_line, reason, story
from seism.report.text import clean, count, seconds
from seism.verdict.result import AMBER, RED, Judgement
from seism.verdict.weakness import Weakness, weaknesses
from seism_middleware.contract import JOB

NEW, ACCEPTED = "new", "accepted"
"""States of a weakness beside a baseline."""
MOST_HARMS = 2
MOST_NAMES = 3
"""Pieces of harm, and names in a list, that are told."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A weakness, its title and its remedy, fit to be shown."""

    weakness: Weakness
    title: str
    often: str
    """``once``, ``6 times``, ``6 times in 2 cells``."""
    advice: Advice
    again: str
    """The command that shows it alone; empty where none does."""
    state: str = ""
    """``new`` or ``accepted`` beside a baseline; empty without one."""

    @property
    def colour(self) -> str:
        return self.weakness.colour

    @property
    def fingerprint(self) -> str:
        return self.weakness.fingerprint

    @property
    def place(self) -> str:
        """The app's own line, or nothing."""
        return clean(self.weakness.place)

    @property
    def remedy(self) -> str:
        """What to do, with the page that explains it."""
        return f"{self.advice.text} See docs/{self.advice.page}" if self.advice.text else ""

    @property
    def example(self) -> tuple[str, ...]:
        """The request that shows it best: what it got, what hit it, what was logged and raised."""
        case = self.weakness.example
        if case is None or not case.request:
            return ()
        got = f"request {clean(case.request, 60)}, {clean(case.phase, 20)}: {answer(case)}"
        return (f"{got} after {seconds(case.duration)}", cause(case), *story(case))

    @property
    def harm(self) -> tuple[str, ...]:
        """What else it did, and a count of the rest."""
        lines = [harm_line(harm) for harm in self.weakness.harms[:MOST_HARMS]]
        more = len(self.weakness.harms) - MOST_HARMS
        return (*lines, f"and {more} more like it") if more > 0 else tuple(lines)

    def is_failure(self, strict: bool) -> bool:
        """Whether it fails a run."""
        wrong = self.colour == RED or (strict and self.colour == AMBER)
        return wrong and self.state != ACCEPTED

    @property
    def label(self) -> str:
        """How often it shows, and whether it is new or accepted."""
        return f"{self.often}, {self.state}" if self.state else self.often

    def lines(self) -> list[str]:
        """All of it, in the order in which people ask: where, what, why, what to do."""
        found = [f"at {self.place}"] if self.place else []
        found += [group.line for group in groups(self.weakness)]
        found += [*self.example, *self.harm]
        found += [clean(line, 600) for line in self.weakness.findings[1:MOST_NAMES]]
        return [*found, *filter(None, (self.remedy, self.again))]


@dataclass(frozen=True, slots=True)
class CellGroup:
    """Cells of one route that have one colour for one reason."""

    colour: str
    route: str
    perturbations: tuple[str, ...]
    reason: str

    @property
    def where(self) -> str:
        """``GET /x under a, b and 1 more: 500``."""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.route} under {first(self.perturbations, MOST_NAMES)}{why}"

    @property
    def line(self) -> str:
        return f"{self.colour}: {self.where}"


def diagnoses(judgement: Judgement) -> tuple[Diagnosis, ...]:
    """All weaknesses, the worst first."""
    return tuple(
        Diagnosis(
            each,
            clean(each.title, 400),
            _often(each),
            advice(each),
            _again(judgement, each),
            _state(judgement, each),
        )
        for each in weaknesses(judgement)
    )


def summed(found: Sequence[object]) -> str:
    """``3 weaknesses``."""
    return count(len(found), "weakness", "weaknesses")


def groups(weakness: Weakness) -> list[CellGroup]:
    """Its cells, those that differ in their perturbation alone as one."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for cell in weakness.cells:
        key = (cell.colour, clean(cell.route, 120), reason(cell))
        alike.setdefault(key, []).append(clean(cell.perturbation, 60))
    return [
        CellGroup(colour, route, tuple(names), why) for (colour, route, why), names in alike.items()
    ]


def first(names: Iterable[str], most: int) -> str:
    """``a, b and 1 more``."""
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def compared(judgement: Judgement) -> str:
    """``baseline.toml: 1 new, 2 accepted, 1 gone``; empty without a baseline."""
    found = judgement.baseline
    if found is None:
        return ""
    counts = f"{len(found.new)} new, {len(found.accepted)} accepted, {len(found.gone)} gone"
    return clean(f"{found.file}: {counts}")


def _state(judgement: Judgement, weakness: Weakness) -> str:
    if judgement.baseline is None:
        return ""
    return ACCEPTED if weakness.fingerprint in judgement.baseline.accepted else NEW


def _often(weakness: Weakness) -> str:
    times = "once" if weakness.times == 1 else f"{weakness.times:,} times"
    cells = len(weakness.cells)
    return f"{times} in {cells} cells" if cells > 1 else times


def _again(judgement: Judgement, weakness: Weakness) -> str:
    steps = {step.name: step for step in judgement.plan}
    names = [name for name in weakness.perturbations if name in steps]
    example = weakness.example
    if example is not None and example.perturbation in names:
        names.insert(0, example.perturbation)
    # A pair of a sweep is two steps, which no replay chooses.
    names = [name for name in names if steps[name].partner is None]
    if not judgement.replay or not names:
        return ""
    command = f"{judgement.replay} --only {shlex.quote(names[0])}"
    routes = [example.route] if example is not None else weakness.routes[:1]
    for route in routes:
        if not route.startswith(f"{JOB} "):  # which the load does not send
            command += f" --route {shlex.quote(route)}"
    return clean(command, 600)
