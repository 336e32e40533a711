from __future__ import annotations

from dataclasses import replace

import pytest

from seism.model import PlannedStep, ToxicSpec
from seism.report import summary
from seism.verdict.result import AMBER, COLLATERAL, EARLIER, GREEN, NOT_COVERED, RED, Case
from tests.report import known


@pytest.mark.parametrize(
    ("name", "outcome", "sentence"),
    [
        ("green", GREEN, "Green: 5 routes hold under 6 perturbations."),
        ("mixed", RED, "Red: 2 of 5 routes break, under 2 of 6 perturbations."),
        ("leaking", RED, "Red: no route breaks, but 1 worker finding."),
        ("gappy", "unproven", "Not proven: 1 perturbation never fired and 3 observations dropped."),
        (
            "unsteady",
            "unproven",
            "No verdict: the app was not in a steady state before the first perturbation.",
        ),
    ],
)
def test_one_sentence_says_it(name: str, outcome: str, sentence: str) -> None:
    judgement = known.ALL[name]
    assert summary.outcome(judgement) == outcome
    assert summary.headline(judgement) == sentence


def test_an_amber_harm_alone_degrades_no_route() -> None:
    said = summary.headline(known.slightly_harmed())
    assert said == "Amber: no route degrades, but 1 harm stays behind."


def test_amber_alone_breaks_nothing() -> None:
    cells = tuple(
        replace(cell, colour=AMBER) if cell.route == "POST /cart" else cell
        for cell in known.green().cells
    )
    judgement = replace(known.green(), colour=AMBER, cells=cells)
    assert summary.headline(judgement) == "Amber: nothing breaks, but 1 of 5 routes degrades."


def test_a_red_run_with_gaps_stays_red() -> None:
    judgement = replace(known.mixed(), never_fired=("cache-slow",), dropped=2)
    assert summary.outcome(judgement) == RED
    assert summary.headline(judgement).startswith("Red:")


def test_a_run_that_touched_nothing_is_not_green() -> None:
    cells = tuple(replace(cell, colour=NOT_COVERED) for cell in known.green().cells)
    judgement = replace(known.green(), colour=NOT_COVERED, cells=cells)
    assert "no perturbation touched any route" in summary.headline(judgement)


def test_the_worst_come_first_and_only_what_is_wrong() -> None:
    colours = [cell.colour for cell in summary.worst_cells(known.mixed())]
    assert colours == [RED, RED, AMBER]
    assert summary.tally(known.mixed()) == [(RED, 2), (AMBER, 1), (GREEN, 21), (NOT_COVERED, 6)]


def case(**changes: object) -> Case:
    plain = Case("w1-1", "GET /", "cache-slow", "during", RED, "", 500, 0.1)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_possible_cause_never_reads_as_a_certain_one() -> None:
    possible = case(hit_by="p-1", role="harmed", evidence="overlap")
    assert summary.cause(possible) == "possibly harmed by p-1 (not exact, evidence: overlap)"
    exact = case(hit_by="p-1", role="hit", evidence="ledger", exact=True)
    assert summary.cause(exact) == "hit by p-1 (exact, evidence: ledger)"
    other = case(hit_by="p-1", what="down on db", role=COLLATERAL, evidence="control")
    assert summary.cause(other) == (
        "nothing hit it; it fails since p-1: down on db (not exact: the control run does not fail "
        "like that)"
    )
    late = case(hit_by="p-1", what="down on db", role=EARLIER, evidence="connect", exact=True)
    assert summary.cause(late) == (
        "its route was hit before by p-1: down on db (exact, evidence: connect)"
    )
    assert summary.cause(case()) == "no perturbation is attributed to this request"


def test_the_backend_comes_from_the_plan_or_is_the_perturbation_itself() -> None:
    judgement = replace(
        known.green(),
        plan=(
            PlannedStep(ToxicSpec("down", "a"), "cache"),
            PlannedStep(ToxicSpec("down", "b"), ""),
        ),
    )
    assert summary.backend(judgement, "a") == "cache"
    assert summary.backend(judgement, "b") == "b"
    assert summary.backend(judgement, "not planned") == "not planned"


def test_only_the_apps_own_frames_are_a_place() -> None:
    library = ("site-packages/redis/client.py:559 execute", ".../python3.11/socket.py:12 recv")
    assert summary.place(library) is None
    assert summary.place(("<string>:1 <module>",)) is None
    assert summary.place(("app.py:3 main", *library)) == ("app.py", 3)
