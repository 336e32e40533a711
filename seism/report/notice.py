"""What concerns the run beyond single cells, as one list that every report shows.

Whatever makes the exit code non-zero is a red or amber cell, or is in this list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from seism.report.summary import harm_line
from seism.report.text import clean, count
from seism.verdict.result import AMBER, NOT_COVERED, RED, UNSURE, HarmFinding, Judgement, listed
from seism.verdict.weakness import weaknesses

ERROR, WARNING, NOTE = "error", "warning", "note"
"""Levels: it fails the run, it weakens the result, or it is good to know."""

STEADY, FINDING, HARM, FIRED, DROPPED, UNPLACED, COVERED, DIAGNOSIS, REMARK, SURVIVED = (
    "steady", "finding", "harm", "fired", "dropped", "unplaced", "covered", "diagnosis", "remark",
    "survived",
)  # fmt: skip
"""Kinds, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One line of a report."""

    level: str
    kind: str
    title: str
    """Two or three words; of a harm, its kind."""
    text: str
    """One line, fit to be shown."""
    perturbation: str = ""
    """Name of the planned perturbation that it is about, if it is about one."""

    @property
    def line(self) -> str:
        """Title and text; a harm's text begins with its title."""
        if self.kind == HARM:
            return self.text
        return clean(f"{self.title}: {self.text}", 700)


def notices(judgement: Judgement, strict: bool = False) -> tuple[Notice, ...]:
    """All of a judgement, by kind; with ``strict`` an amber harm is an error."""
    return tuple(_all(judgement, strict))


def beside(judgement: Judgement, strict: bool = False) -> tuple[Notice, ...]:
    """Those that are not in a weakness."""
    return tuple(
        each
        for each in _all(judgement, strict)
        if each.kind != FINDING and not (each.kind == HARM and each.level != NOTE)
    )


def grouped(found: Iterable[Notice]) -> dict[tuple[str, str], list[Notice]]:
    """(Kind, level) -> notices, in order."""
    groups: dict[tuple[str, str], list[Notice]] = {}
    for notice in found:
        groups.setdefault((notice.kind, notice.level), []).append(notice)
    return groups


def _all(judgement: Judgement, strict: bool) -> Iterator[Notice]:
    if not judgement.steady.met:
        reason = judgement.steady.reason or "no reason was given"
        yield _notice(ERROR, STEADY, "no steady state", reason)
    accepted = _accepted(judgement)
    for finding in judgement.findings:
        level = WARNING if finding in accepted.findings else ERROR
        yield _notice(level, FINDING, "finding", finding)
    for level in (ERROR, WARNING):
        for harm in judgement.harms:
            found = _level(harm, strict)
            if found == ERROR and harm in accepted.harms:
                found = WARNING
            if found == level:
                yield _notice(level, HARM, harm.kind, harm_line(harm), harm.perturbation)
    yield from _harmless(harm for harm in judgement.harms if _level(harm, strict) == NOTE)
    for name in judgement.never_fired:
        yield _notice(ERROR, FIRED, "never fired", f"{clean(name)}: it had no effect at all", name)
    if judgement.incomplete:
        yield _notice(
            ERROR, DROPPED, "incomplete", f"{judgement.incomplete}: what came later was not judged"
        )
    if judgement.dropped:
        missing = count(judgement.dropped, "observation")
        yield _notice(
            ERROR, DROPPED, "dropped", f"{missing} did not arrive: a wrong answer may be missing"
        )
    for line in judgement.unplaced:
        yield _notice(ERROR, UNPLACED, "error of Seism", line)
    if judgement.steady.met and judgement.colour == NOT_COVERED:
        yield _notice(ERROR, COVERED, "not covered", "no perturbation touched any route")
    if judgement.steady.met and judgement.colour == UNSURE:
        yield _notice(ERROR, COVERED, "unsure", "no perturbation is known to have hit any route")
    for line in judgement.diagnosis:
        yield _notice(WARNING, DIAGNOSIS, "diagnosis", line)
    unsure = [
        f"{cell.route} under {cell.perturbation}"
        for cell in judgement.cells
        if cell.colour == UNSURE
    ]
    if unsure:
        what = f"{count(len(unsure), 'cell')} possibly hit and not for certain: {listed(unsure)}"
        yield _notice(WARNING, REMARK, "unsure", what)
    for warning in judgement.warnings:
        yield _notice(WARNING, REMARK, "warning", warning)
    for cell in judgement.cells:
        for note in cell.notes:
            where = f"{cell.route} under {cell.perturbation}"
            yield _notice(NOTE, SURVIVED, "survived", f"{where}: {note}", cell.perturbation)


def _harmless(harms: Iterable[HarmFinding]) -> Iterator[Notice]:
    """One for all of a kind and a backend under a perturbation: nothing came of them."""
    groups: dict[tuple[str, str, str], list[HarmFinding]] = {}
    for harm in harms:
        groups.setdefault((harm.kind, harm.perturbation, harm.backend), []).append(harm)
    for (kind, perturbation, _), (first, *more) in groups.items():
        text = harm_line(first) + (f"; and {len(more)} more like it" if more else "")
        yield _notice(NOTE, HARM, kind, text, perturbation)


@dataclass(frozen=True, slots=True)
class _Accepted:
    findings: frozenset[str]
    harms: tuple[HarmFinding, ...]


def _accepted(judgement: Judgement) -> _Accepted:
    """The parts of a judgement that belong to weaknesses which a baseline accepts."""
    if judgement.baseline is None:
        return _Accepted(frozenset(), ())
    known = [
        each for each in weaknesses(judgement) if each.fingerprint in judgement.baseline.accepted
    ]
    findings = frozenset(line for each in known for line in each.findings)
    return _Accepted(findings, tuple(harm for each in known for harm in each.harms))


def _level(harm: HarmFinding, strict: bool) -> str:
    if harm.colour == RED or (strict and harm.colour == AMBER):
        return ERROR
    return WARNING if harm.colour == AMBER else NOTE


def _notice(level: str, kind: str, title: str, text: str, perturbation: str = "") -> Notice:
    return Notice(level, kind, clean(title), clean(text, 600), perturbation)
