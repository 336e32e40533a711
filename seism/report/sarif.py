"""``seism.sarif``: weaknesses, and what else fails a run, as findings of static analysis.

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
from seism.report.advice import GENERAL
from seism.report.diagnosis import ACCEPTED, Diagnosis, diagnoses
from seism.report.notice import (
    COVERED,
    DIAGNOSIS,
    DROPPED,
    FIRED,
    NOTE,
    REMARK,
    STEADY,
    UNPLACED,
    Notice,
    beside,
    notices,
)
from seism.report.summary import place as app_frame
from seism.report.text import clean
from seism.verdict.result import Judgement

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
MEANING = {
    STEADY: "The app was not in a steady state before the first perturbation",
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
    weak = diagnoses(judgement)
    found = notices(judgement, strict)
    wrong = [
        notice
        for notice in beside(judgement, strict)
        if notice.kind not in (DIAGNOSIS, REMARK) and notice.level != NOTE
    ]
    rules = {each.weakness.kind: _rule(each) for each in weak}
    rules |= {
        notice.title: {"id": notice.title, "shortDescription": {"text": MEANING[notice.kind]}}
        for notice in wrong
        if notice.title not in rules
    }
    results = [*(_of_weakness(each, strict) for each in weak), *map(_of_notice, wrong)]
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


def _rule(found: Diagnosis) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": found.weakness.kind}
    rule["shortDescription"] = {"text": f"A weakness of the kind: {found.weakness.kind}"}
    if text := GENERAL[found.weakness.kind]:
        rule["help"] = {"text": f"{text} See docs/{found.advice.page}"}
    return rule


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


def _of_weakness(found: Diagnosis, strict: bool) -> dict[str, Any]:
    """At the app's own line; the other routes, and the frames below that line, are related."""
    routes = [clean(route) for route in found.weakness.routes] or ["the app"]
    place = {**_physical(found.weakness.place), **_logical(routes[0])}
    related = [
        {**_logical(route), "message": {"text": "fails in the same way"}} for route in routes[1:]
    ]
    example = found.weakness.example
    for frame in example.frames if example is not None else ():
        if frame != found.weakness.place and (physical := _physical(frame)):
            related.append({**physical, "message": {"text": clean(frame)}})
    result: dict[str, Any] = {
        "ruleId": found.weakness.kind,
        "level": "error" if found.is_failure(strict) else "warning",
        "message": {"text": "\n".join([f"{found.title} ({found.label})", *found.lines()])},
        "locations": [place],
        "partialFingerprints": {"weakness/v1": found.fingerprint},
    }
    if found.state:
        result["baselineState"] = "unchanged" if found.state == ACCEPTED else "new"
    if related:
        result["relatedLocations"] = related
    return result


def _logical(name: str) -> dict[str, Any]:
    return {"logicalLocations": [{"fullyQualifiedName": name, "kind": "resource"}]}


def _physical(frame: str) -> dict[str, Any]:
    """Of a frame of the app's own code; nothing of another."""
    found = app_frame((frame,))
    if found is None:
        return {}
    path, line = found
    artifact = {"uri": quote(path), "uriBaseId": HOME}
    return {
        "physicalLocation": {
            "artifactLocation": artifact,
            "region": {"startLine": max(1, line)},
        }
    }


def _digest(*parts: str) -> str:
    key = "\n".join(parts).encode(errors="backslashreplace")
    return hashlib.sha256(key).hexdigest()
