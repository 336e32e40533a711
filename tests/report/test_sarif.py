"""``seism.sarif`` against the official schema, and what a reader of it finds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft7Validator

from seism.report.sarif import render
from seism.verdict.result import AMBER, RED, Judgement
from tests import npm
from tests.report import known
from tests.report.test_text import ANYTHING

SCHEMA = ("@microsoft/jest-sarif@1.0.0-beta.0", "sarif-2.1.0-rtm.5.json")
"""A package that has the schema of OASIS, and its file there."""


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Draft7Validator:
    package, name = SCHEMA
    modules = npm.install(tmp_path_factory.mktemp("npm"), package)
    file = modules / "@microsoft" / "jest-sarif" / "lib" / "schemas" / name
    return Draft7Validator(json.loads(file.read_text(encoding="utf-8")))


def run_of(judgement: Judgement, strict: bool = False) -> dict[str, Any]:
    (run,) = json.loads(render(judgement, strict))["runs"]
    assert isinstance(run, dict)
    return run


def test_every_report_is_valid(validator: Draft7Validator) -> None:
    for judgement in (*known.ALL.values(), *map(known.hostile, known.HOSTILE)):
        for strict in (False, True):
            validator.validate(json.loads(render(judgement, strict)))


def test_the_check_refuses_what_is_wrong(validator: Draft7Validator) -> None:
    document = json.loads(render(known.mixed()))
    document["runs"][0]["results"][0]["level"] = "red"
    assert not validator.is_valid(document)


@given(ANYTHING)
def test_any_text_makes_a_document(text: str) -> None:
    assert run_of(known.hostile(text))["tool"]["driver"]["name"] == "Seism"


def test_a_red_cell_is_an_error_at_the_apps_own_frame() -> None:
    run = run_of(known.mixed())
    results = {result["ruleId"]: result for result in run["results"]}
    result = results["error"]
    assert result["level"] == "error"
    (place,) = result["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "shop/cart.py", "uriBaseId": "APPROOT"},
        "region": {"startLine": 41},
    }
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "POST /cart"
    text = result["message"]["text"]
    for part in ("hit by p-12 (exact", "at shop/cart.py:41 show", "could not read cart"):
        assert part in text
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "error"
    assert result["partialFingerprints"] == {"weakness/v1": "7baccbc5cb0113cd"}
    assert result["relatedLocations"][0]["message"]["text"] == "shop/views.py:12 page"


def test_levels_and_the_state_of_the_run() -> None:
    for strict in (False, True):
        judgement = known.mixed()
        found = [result["level"] for result in run_of(judgement, strict)["results"]]
        red = sum(cell.colour == RED for cell in judgement.cells)
        amber = sum(cell.colour == AMBER for cell in judgement.cells)
        assert found == ["error"] * red + ["error" if strict else "warning"] * amber
    (invocation,) = run_of(known.unsteady())["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "no steady state" in invocation["toolExecutionNotifications"][0]["message"]["text"]
