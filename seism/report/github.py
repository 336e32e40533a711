"""What GitHub Actions shows: annotations on the run, and the job's summary.

Source of the format: GitHub's documentation, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from seism.report import markdown
from seism.report.summary import cause, place, reason, story, worst_cells
from seism.report.text import clean
from seism.verdict.result import AMBER, RED, Judgement

MOST = 10
"""GitHub shows no more annotations of one kind in a step."""


def commands(judgement: Judgement, strict: bool = False) -> Iterator[str]:
    """One workflow command a line; with ``strict`` amber is an error, too."""
    told: dict[str, int] = {"error": 0, "warning": 0}
    for kind, where, title, text in _told(judgement, strict):
        told[kind] += 1
        if told[kind] <= MOST:
            yield f"::{kind} {where}title={_property(title)}::{_data(text)}"


def tell(judgement: Judgement, strict: bool, environ: Mapping[str, str]) -> Iterator[str]:
    """The lines to print in a step of GitHub Actions; none anywhere else.

    The job's summary is written, too. Raises OSError if it cannot be.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return
    yield from commands(judgement, strict)
    if path := environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(markdown.render(judgement, strict))


def _told(judgement: Judgement, strict: bool) -> Iterator[tuple[str, str, str, str]]:
    """(kind, where, title, text) of each annotation, the worst first."""
    if not judgement.steady.met:
        yield "error", "", "no steady state", judgement.steady.reason
    for finding in judgement.findings:
        yield "error", "", "worker", finding
    for name in judgement.never_fired:
        yield "error", "", "never fired", name
    for cell in worst_cells(judgement):
        wrong = cell.colour == RED or (strict and cell.colour == AMBER)
        text = reason(cell)
        if cell.worst is not None:
            text += f"\n{cause(cell.worst)}"
            text += "".join(f"\n{line}" for line in story(cell.worst))
        title = f"{cell.colour}: {cell.route} under {cell.perturbation}"
        where = _place(cell.worst.frames) if cell.worst is not None else ""
        yield "error" if wrong else "warning", where, title, text
    for warning in judgement.warnings:
        yield "warning", "", "seism", warning


def _place(frames: tuple[str, ...]) -> str:
    """``file=...,line=...,`` of the innermost frame of the app's own code, empty without one."""
    found = place(frames)
    return f"file={_property(found[0])},line={found[1]}," if found else ""


def _data(text: str) -> str:
    lines = [clean(line) for line in text.split("\n")]
    return "%0A".join(line.replace("%", "%25").replace("\r", "%0D") for line in lines)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
