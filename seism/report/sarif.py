"""``seism.sarif``: red and amber cells as findings of static analysis are shown.

SARIF 2.1.0 (OASIS). A result's place is the innermost frame of the app's own code in the
traceback, from the app's folder; where there is none, the result has the route alone.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

import seism
from seism.report.summary import backend, cause, reason, story, worst_cells
from seism.report.summary import place as app_frame
from seism.report.text import clean
from seism.verdict.result import RED, Cell, Judgement

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
HOME = "APPROOT"
"""The base of the paths: the folder that the app runs in."""


def render(judgement: Judgement, strict: bool = False) -> str:
    """The document; with ``strict`` amber is an error, too."""
    cells = worst_cells(judgement)
    names = list(dict.fromkeys(cell.perturbation for cell in cells))
    run = {
        "tool": {
            "driver": {
                "name": "Seism",
                "version": seism.__version__,
                "rules": [_rule(judgement, name) for name in names],
            }
        },
        "invocations": [_invocation(judgement, strict)],
        "results": [_result(cell, names, strict) for cell in cells],
        "columnKind": "unicodeCodePoints",
        "properties": {"seed": judgement.seed},
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2) + "\n"


def _rule(judgement: Judgement, name: str) -> dict[str, Any]:
    text = f"The app under {clean(name)}, a perturbation of {clean(backend(judgement, name))}"
    return {"id": clean(name), "shortDescription": {"text": text}}


def _invocation(judgement: Judgement, strict: bool) -> dict[str, Any]:
    """What concerns the run as a whole."""
    said = [("error", f"no steady state: {judgement.steady.reason}")] * (not judgement.steady.met)
    said += [("error", finding) for finding in judgement.findings]
    said += [("error", f"never fired: {name}") for name in judgement.never_fired]
    said += [("warning", warning) for warning in judgement.warnings]
    return {
        "executionSuccessful": judgement.exit_code(strict) in (0, 1),
        "exitCode": judgement.exit_code(strict),
        "toolExecutionNotifications": [
            {"level": level, "message": {"text": clean(text)}} for level, text in said
        ],
    }


def _result(cell: Cell, names: list[str], strict: bool) -> dict[str, Any]:
    lines = [f"{cell.colour}: {clean(cell.route)} under {clean(cell.perturbation)}: {reason(cell)}"]
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
    key = f"{cell.route}\n{cell.perturbation}".encode(errors="backslashreplace")
    return {
        "ruleId": clean(cell.perturbation),
        "ruleIndex": names.index(cell.perturbation),
        "level": "error" if cell.colour == RED or strict else "warning",
        "message": {"text": "\n".join(lines)},
        "locations": [place],
        "partialFingerprints": {"cell/v1": hashlib.sha256(key).hexdigest()},
    }
