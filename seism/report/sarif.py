"""``seism.sarif``: red and amber cells, and what else fails a run, as findings of static analysis.

SARIF 2.1.0 (OASIS). A result's place is the innermost frame of the app's own code in the
traceback, from the app's folder; where there is none, the result has the route alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import seism
from seism.report.notice import (
    COVERED,
    DIAGNOSIS,
    DROPPED,
    FINDING,
    FIRED,
    HARM,
    NOTE,
    REMARK,
    STEADY,
    UNPLACED,
    Notice,
    notices,
)
from seism.report.summary import backend, cause, reason, recovery, story, worst_cells
from seism.report.summary import place as app_frame
from seism.report.text import clean
from seism.verdict.result import RED, Cell, Judgement

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
MEANING = {
    STEADY: "The app was not in a steady state before the first perturbation",
    FINDING: "The run as a whole, or a worker, went wrong",
    HARM: "A perturbation did harm beyond the requests that it hit",
    FIRED: "A planned perturbation had no effect",
    DROPPED: "Observations are missing",
    UNPLACED: "An error of Seism: something of the run is in no cell",
    COVERED: "No perturbation touched any route",
}
"""Kind of a notice -> description of its rule."""
HOME = "APPROOT"
"""The base of the paths: the folder that the app runs in."""


def render(judgement: Judgement, strict: bool = False) -> str:
    """The document; with ``strict`` amber is an error, too."""
    cells = worst_cells(judgement)
    found = notices(judgement, strict)
    beside = (DIAGNOSIS, REMARK)
    wrong = [notice for notice in found if notice.kind not in beside and notice.level != NOTE]
    rules = {clean(cell.perturbation): _rule(judgement, cell.perturbation) for cell in cells}
    rules |= {
        notice.title: {"id": notice.title, "shortDescription": {"text": MEANING[notice.kind]}}
        for notice in wrong
        if notice.title not in rules
    }
    results = [*(_of_cell(cell, strict) for cell in cells), *map(_of_notice, wrong)]
    ids = list(rules)
    run = {
        "tool": {
            "driver": {
                "name": "Seism",
                "version": seism.__version__,
                "rules": list(rules.values()),
            }
        },
        "invocations": [_invocation(judgement, strict, found)],
        "results": [
            {"ruleId": each["ruleId"], "ruleIndex": ids.index(each["ruleId"]), **each}
            for each in results
        ],
        "columnKind": "unicodeCodePoints",
        "properties": {"seed": judgement.seed},
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2) + "\n"


def _rule(judgement: Judgement, name: str) -> dict[str, Any]:
    text = f"The app under {clean(name)}, a perturbation of {clean(backend(judgement, name))}"
    return {"id": clean(name), "shortDescription": {"text": text}}


def _invocation(judgement: Judgement, strict: bool, found: Iterable[Notice]) -> dict[str, Any]:
    """What concerns the run as a whole."""
    return {
        "executionSuccessful": judgement.exit_code(strict) in (0, 1),
        "exitCode": judgement.exit_code(strict),
        "toolExecutionNotifications": [
            {"level": notice.level, "message": {"text": notice.line}} for notice in found
        ],
    }


def _of_notice(notice: Notice) -> dict[str, Any]:
    """Code scanning shows results alone, so that what fails a run is one."""
    place = clean(notice.perturbation) or "run"
    return {
        "ruleId": notice.title,
        "level": notice.level,
        "message": {"text": notice.text},
        "locations": [{"logicalLocations": [{"fullyQualifiedName": place, "kind": "resource"}]}],
        "partialFingerprints": {"notice/v1": _digest(notice.title, notice.text)},
    }


def _of_cell(cell: Cell, strict: bool) -> dict[str, Any]:
    lines = [f"{cell.colour}: {clean(cell.route)} under {clean(cell.perturbation)}: {reason(cell)}"]
    lines += [recovery(cell)] if recovery(cell) else []
    frames: tuple[str, ...] = ()
    if cell.worst is not None:
        lines += [cause(cell.worst), *story(cell.worst)]
        frames = cell.worst.frames
    place: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": clean(cell.route), "kind": "resource"}]
    }
    found = app_frame(frames)
    if found is not None:
        path, line = found
        place["physicalLocation"] = {
            "artifactLocation": {"uri": quote(path), "uriBaseId": HOME},
            "region": {"startLine": max(1, line)},
        }
    return {
        "ruleId": clean(cell.perturbation),
        "level": "error" if cell.colour == RED or strict else "warning",
        "message": {"text": "\n".join(lines)},
        "locations": [place],
        "partialFingerprints": {"cell/v1": _digest(cell.route, cell.perturbation)},
    }


def _digest(*parts: str) -> str:
    key = "\n".join(parts).encode(errors="backslashreplace")
    return hashlib.sha256(key).hexdigest()
