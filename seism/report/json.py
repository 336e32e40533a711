"""``report.json``: the whole judgement, for programs.

Equal seeds give an equal ``plan`` and ``matrix``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from seism.report.diagnosis import Diagnosis, diagnoses
from seism.report.notice import notices
from seism.report.summary import headline, outcome
from seism.verdict.result import Judgement

SCHEMA = 2
"""Raised when a key changes its meaning or goes away; new keys do not raise it."""


def render(judgement: Judgement, strict: bool = False) -> str:
    """The document; keys keep their order, all text is ASCII, so any tool can read it."""
    document = {
        "schema": SCHEMA,
        "outcome": outcome(judgement),
        "headline": headline(judgement),
        "exit_code": judgement.exit_code(strict),
        "strict": strict,
        "seed": judgement.seed,
        "colour": judgement.colour,
        "plan": [step.to_dict() for step in judgement.plan],
        "matrix": judgement.matrix,
        "steady": dataclasses.asdict(judgement.steady),
        "routes": judgement.routes,
        "perturbations": judgement.perturbations,
        "weaknesses": [_weakness(each) for each in diagnoses(judgement)],
        "cells": [dataclasses.asdict(cell) for cell in judgement.cells],
        "cases": [dataclasses.asdict(case) for case in judgement.cases],
        "findings": judgement.findings,
        "harms": [dataclasses.asdict(harm) for harm in judgement.harms],
        "pools": [dataclasses.asdict(pool) for pool in judgement.pools],
        "never_fired": judgement.never_fired,
        "dropped": judgement.dropped,
        "incomplete": judgement.incomplete,
        "unplaced": judgement.unplaced,
        "diagnosis": judgement.diagnosis,
        "warnings": judgement.warnings,
        "flaky": judgement.flaky,
        "replay": judgement.replay,
        "baseline": dataclasses.asdict(judgement.baseline) if judgement.baseline else None,
        "notices": [dataclasses.asdict(notice) for notice in notices(judgement, strict)],
    }
    return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"


def _weakness(found: Diagnosis) -> dict[str, Any]:
    """One thing to fix; its cells, cases and harm are in lists of their own, by these names."""
    weakness = found.weakness
    return {
        "fingerprint": weakness.fingerprint,
        "state": found.state,
        "kind": weakness.kind,
        "colour": weakness.colour,
        "title": weakness.title,
        "backend": weakness.backend,
        "place": weakness.place,
        "exception": weakness.exception,
        "libraries": weakness.library.split(),
        "routes": weakness.routes,
        "perturbations": weakness.perturbations,
        "cells": [[cell.route, cell.perturbation] for cell in weakness.cells],
        "harms": len(weakness.harms),
        "findings": weakness.findings,
        "times": weakness.times,
        "example": weakness.example.request if weakness.example is not None else "",
        "advice": found.advice.text,
        "page": found.advice.page,
        "again": found.again,
    }


def _finite(value: Any) -> Any:
    # JSON has no infinity (RFC 8259, section 6), and a report must not fail at the end of a run.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
