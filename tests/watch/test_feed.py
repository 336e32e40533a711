"""One state machine twice: the terminal's and the page's reach the same states.

``tests/data/feed.json`` has the records and the expected states; a part that is left out is empty.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from seism.watch.model import Model
from tests.debian import unable
from tests.processes import ROOT

FEED = ROOT / "tests" / "data" / "feed.json"
CASES: list[dict[str, Any]] = json.loads(FEED.read_text(encoding="utf-8"))
EMPTY: dict[str, Any] = {
    "counts": {}, "routes": {}, "bad": {}, "active": 0, "backends": {}, "cells": {}, "last": 0,
}  # fmt: skip
PAGE = ROOT / "seism" / "dashboard" / "static" / "model.js"


def terminal(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The state of ``seism watch`` after the records."""
    model, run, requests = Model(), 1, {}
    for record in records:
        if "restart" in record:
            run += 1
        else:
            model.add(record, str(run))
        if record.get("kind") == "request.ended":
            requests[record["request"]] = f"{record['method']} {record['route']}"
    known = {request.id: request for request in model._requests.values()}
    assert requests == {request.id: request.route for request in known.values()}
    return {
        "counts": {colour or "pending": n for colour, n in model.counts.items() if n},
        "routes": {
            route: [request.id for request in known.values() if request.route == route]
            for route in model.routes
        },
        "statuses": {request.id: request.status for request in known.values()},
        "bad": {request.id: request.reason for request in model.bad},
        "active": model.active,
        "backends": {
            name: [[effect.type, effect.at, effect.end] for effect in effects]
            for name, effects in model.backends.items()
        },
        "cells": {
            f"{route} under {what}": {"colour": cell.colour or "pending", "requests": cell.requests}
            for (route, what), cell in model.cells().items()
        },
        "last": model.last,
    }


@pytest.fixture(scope="module")
def page() -> dict[str, dict[str, Any]]:
    """Name of the case -> the dashboard's state after its records."""
    node = shutil.which("node")
    if node is None:
        unable("node is missing (Debian: apt-get install nodejs)")
    done = subprocess.run(
        [node, ROOT / "tests" / "watch" / "feed.js", PAGE, FEED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    states: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return states


def expected(case: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """All of the state; the statuses of its requests where the case names them."""
    return {**EMPTY, "statuses": state["statuses"], **case["expected"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_terminal(case: dict[str, Any]) -> None:
    state = terminal(case["records"])
    assert state == expected(case, state)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_page(case: dict[str, Any], page: dict[str, dict[str, Any]]) -> None:
    state = page[case["name"]]
    assert state == expected(case, state)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_both_hold_the_same(case: dict[str, Any], page: dict[str, dict[str, Any]]) -> None:
    assert terminal(case["records"]) == page[case["name"]]
