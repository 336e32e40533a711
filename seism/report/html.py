"""``report.html``: one file for people, which loads nothing and runs nothing.

Everything is in ``report.html`` and ``report.css`` beside this module. A content
security policy allows that one style sheet, by its hash, and nothing else; whatever a
route or a reason holds, it cannot become a script, a style or a request.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

import seism
from seism.model import PlannedStep
from seism.report import summary
from seism.report.diagnosis import compared, diagnoses, first, groups, summed
from seism.report.notice import (
    COVERED,
    DIAGNOSIS,
    DROPPED,
    ERROR,
    FIRED,
    HARM,
    REMARK,
    STEADY,
    SURVIVED,
    UNPLACED,
    beside,
    grouped,
)
from seism.report.text import clean, count, seconds
from seism.verdict.result import Judgement

MOST_ROUTES = 500
MOST_GROUPS = 8
"""Limits of one page: rows, and groups of cells of one weakness; the rest is in JSON."""


POLICY = "default-src 'none'; style-src '{}'; base-uri 'none'; form-action 'none'"
"""The content security policy, with a place for the hash of the style sheet."""


@dataclass(frozen=True, slots=True)
class Section:
    """What there is to say of one kind."""

    title: str
    colour: str
    """``red``, ``unproven`` or empty."""
    why: str
    """What it means, empty where the title says it."""
    lines: tuple[str, ...]
    failed: bool
    """Whether it fails the run."""


SECTIONS = {
    STEADY: (
        "Steady state not met",
        "red",
        "Nothing was perturbed: a broken app cannot show what a broken backend does to it.",
    ),
    HARM: ("Seen, without proof of harm", "", ""),
    FIRED: (
        "Never fired",
        "unproven",
        "Configured, and without any effect: nothing is known of how the app takes it.",
    ),
    DROPPED: (
        "Observations dropped",
        "unproven",
        "The app's observer could not deliver them, so a wrong answer may be missing here.",
    ),
    UNPLACED: ("Errors of Seism: in no cell", "unproven", ""),
    COVERED: ("Nothing covered", "unproven", ""),
    DIAGNOSIS: ("Diagnosis", "", "What the doctor found when nothing could be judged."),
    REMARK: ("Warnings", "", ""),
    SURVIVED: ("Survived", "green", "Green cells in which a backend failed a request."),
}
"""Title, colour and meaning of each kind of notice."""


def render(judgement: Judgement, strict: bool = False) -> str:
    """The page."""
    cells = {(cell.route, cell.perturbation): cell for cell in judgement.cells}
    routes = judgement.routes[:MOST_ROUTES]
    weaknesses = diagnoses(judgement)
    anchors = {
        (cell.route, cell.perturbation): f"weakness-{found.fingerprint}"
        for found in reversed(weaknesses)
        for cell in found.weakness.cells
    }
    css = Markup(_resource("report.css"))
    return (
        _environment()
        .get_template("report.html")
        .render(
            judgement=judgement,
            exit_code=judgement.exit_code(strict),
            outcome=summary.outcome(judgement),
            headline=summary.headline(judgement),
            tally=summary.tally(judgement),
            rows=[
                (
                    route,
                    [
                        (cells.get((route, p)), anchors.get((route, p)))
                        for p in judgement.perturbations
                    ],
                )
                for route in routes
            ],
            hidden_routes=len(judgement.routes) - len(routes),
            columns=[(name, summary.backend(judgement, name)) for name in judgement.perturbations],
            weaknesses=weaknesses,
            summed=summed(weaknesses),
            compared=compared(judgement),
            plan=[_entry(item) for item in judgement.plan],
            sections=_sections(judgement, strict),
            recoveries=summary.recoveries(judgement),
            css=css,
            policy=POLICY.format(_hash(css)),
            version=seism.__version__,
        )
    )


def _sections(judgement: Judgement, strict: bool) -> list[Section]:
    sections = []
    for (kind, level), found in grouped(beside(judgement, strict)).items():
        title, colour, why = SECTIONS[kind]
        lines = tuple(notice.text for notice in found)
        sections.append(Section(title, colour, why, lines, level == ERROR))
    return sections


def _entry(step: PlannedStep) -> tuple[str, str, str, list[tuple[str, str]]]:
    """(name, backend, type, the other keys) of one planned perturbation."""
    rest = [
        (key, _value(value))
        for key, value in step.to_dict().items()
        if key not in ("name", "backend", "type") and value not in (None, "", {}, [])
    ]
    return step.name, step.backend, step.type, rest


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return str(value)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every expression of the template passes here, so that none can be forgotten.
        finalize=lambda value: value if isinstance(value, Markup) else clean(value),
    )
    environment.filters["seconds"] = seconds
    environment.globals.update(
        answer=summary.answer,
        backend=summary.backend,
        count=count,
        first=first,
        groups=groups,
        MOST_GROUPS=MOST_GROUPS,
        hit=summary.hit,
        reason=summary.reason,
        connections=summary.connections,
        recovery=summary.recovery,
    )
    return environment


def _resource(name: str) -> str:
    return resources.files("seism.report").joinpath(name).read_text("utf-8")


def _hash(style: str) -> str:
    """The style sheet as a source expression (CSP level 3, section 2.3.1)."""
    digest = hashlib.sha256(style.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
