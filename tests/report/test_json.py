from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from seism.model import PlannedStep
from seism.report.json import SCHEMA, render
from seism.verdict.result import Case, Cell, HarmFinding, Judgement, Pool, Recovery, Steady
from tests.report import known
from tests.report.test_text import ANYTHING


def again(document: dict[str, Any]) -> Judgement:
    """The judgement that a report was made from."""
    cells = []
    for values in document["cells"]:
        worst, found = values.pop("worst"), values.pop("recovery")
        recovery = Recovery(**found) if found else None
        texts = {key: tuple(values[key]) for key in ("reasons", "notes")}
        cell = Cell(**{**values, **texts, "recovery": recovery})
        cells.append(replace(cell, worst=case(worst) if worst else None))
    return Judgement(
        seed=document["seed"],
        plan=tuple(map(PlannedStep.from_dict, document["plan"])),
        colour=document["colour"],
        steady=Steady(**document["steady"]),
        routes=tuple(document["routes"]),
        perturbations=tuple(document["perturbations"]),
        cells=tuple(cells),
        cases=tuple(map(case, document["cases"])),
        findings=tuple(document["findings"]),
        harms=tuple(
            HarmFinding(**{**values, "requests": tuple(values["requests"])})
            for values in document["harms"]
        ),
        pools=tuple(Pool(**values) for values in document["pools"]),
        never_fired=tuple(document["never_fired"]),
        unplaced=tuple(document["unplaced"]),
        dropped=document["dropped"],
        warnings=tuple(document["warnings"]),
    )


def case(values: dict[str, Any]) -> Case:
    return Case(**{**values, "errors": tuple(values["errors"]),
                   "frames": tuple(values["frames"])})  # fmt: skip


@pytest.mark.parametrize("name", known.ALL)
def test_nothing_is_lost(name: str) -> None:
    judgement = known.ALL[name]
    assert again(json.loads(render(judgement))) == judgement


@given(ANYTHING)
def test_nothing_is_lost_of_any_text(text: str) -> None:
    judgement = known.hostile(text)
    document = render(judgement)
    assert document.isascii()
    assert again(json.loads(document)) == judgement


def test_every_field_of_a_judgement_is_a_key() -> None:
    document = json.loads(render(known.mixed()))
    assert {field.name for field in dataclasses.fields(Judgement)} <= set(document)
    assert document["schema"] == SCHEMA


def test_plan_and_matrix_are_as_programs_expect_them() -> None:
    document = json.loads(render(known.mixed()))
    assert document["plan"] == [step.to_dict() for step in known.plan()]
    assert document["matrix"]["POST /cart"]["cache-reset"] == "red"
    assert list(document["matrix"]) == list(known.ROUTES)
    assert list(document["matrix"]["POST /cart"]) == list(known.PERTURBATIONS)


@pytest.mark.parametrize(
    ("name", "strict", "code"),
    [("green", True, 0), ("mixed", False, 1), ("unsteady", False, 3), ("gappy", False, 4)],
)
def test_the_exit_code_is_the_runs(name: str, strict: bool, code: int) -> None:
    assert json.loads(render(known.ALL[name], strict))["exit_code"] == code


def test_a_number_that_json_cannot_hold_becomes_null() -> None:
    judgement = replace(known.green(), steady=Steady(True, "", 1, {"GET /": float("inf")}))
    assert json.loads(render(judgement))["steady"]["p99"] == {"GET /": None}
