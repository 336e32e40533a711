"""What GitHub Actions shows: annotations on the run, and the job's summary.

Source of the format: GitHub's documentation, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from seism.report import markdown
from seism.report.diagnosis import diagnoses
from seism.report.notice import ERROR, NOTE, WARNING, beside
from seism.report.summary import place
from seism.report.text import clean
from seism.verdict.result import Judgement

MOST = 10
"""GitHub shows no more annotations of one kind in a step."""


def commands(judgement: Judgement, strict: bool = False) -> Iterator[str]:
    """One workflow command a line; with ``strict`` amber is an error, too."""
    found: dict[str, list[str]] = {}
    for each in (*_of_weaknesses(judgement, strict), *_of_the_run(judgement, strict)):
        found.setdefault(each.kind, []).append(each.command())
    for kind, lines in found.items():
        if len(lines) > MOST:
            more = Annotation(
                kind, "and more", f"{len(lines) - MOST + 1} more in the job's summary"
            )
            lines[MOST - 1 :] = [more.command()]
        yield from lines


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


@dataclass(frozen=True, slots=True)
class Annotation:
    """One workflow command."""

    kind: str
    """``error``, ``warning`` or ``notice``."""
    title: str
    text: str
    where: str = ""
    """``file=...,line=...,`` or empty."""

    def command(self) -> str:
        """The line to print."""
        return f"::{self.kind} {self.where}title={_property(self.title)}::{_data(self.text)}"


KINDS = {ERROR: "error", WARNING: "warning", NOTE: "notice"}
"""Level of a notice -> kind of annotation."""


def _of_the_run(judgement: Judgement, strict: bool) -> Iterator[Annotation]:
    for notice in beside(judgement, strict):
        yield Annotation(KINDS[notice.level], notice.title, notice.text)


def _of_weaknesses(judgement: Judgement, strict: bool) -> Iterator[Annotation]:
    for found in diagnoses(judgement):
        kind = "error" if found.is_failure(strict) else "warning"
        text = "\n".join(found.lines()) or found.title
        yield Annotation(kind, found.title, text, _place((found.place,)))


def _place(frames: tuple[str, ...]) -> str:
    """``file=...,line=...,`` of the innermost frame of the app's own code, empty without one."""
    found = place(frames)
    return f"file={_property(found[0])},line={found[1]}," if found else ""


def _data(text: str) -> str:
    lines = [clean(line, 600) for line in text.split("\n")]
    return "%0A".join(line.replace("%", "%25").replace("\r", "%0D") for line in lines)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
