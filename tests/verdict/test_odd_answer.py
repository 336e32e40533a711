"""Redirects, 4xx and broken bodies, on journals whose right verdict is known."""

from __future__ import annotations

from typing import Any

import pytest

from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, Cell
from tests.story import Story

RESET = ("db reset", "db", "reset_peer")


def told(
    usual: list[dict[str, Any]], during: list[dict[str, Any]], *, hit: bool = True, **rules: Any
) -> Cell:
    """The cell of a run: two rounds of ``usual`` answers, then those ``during`` the step."""
    story = Story(RESET, **rules)
    story.phase("steady")
    for answer in usual * 2:
        story.sent(seen={}, **answer)
    story.phase("during", 0)
    ids = [story.sent(seen={}, **answer) for answer in during]
    story.perturb(0, *(ids if hit else ids[:1]))
    story.phase("after", 0)
    for answer in usual:
        story.sent(seen={}, **answer)
    (cell,) = judge(story.end()).cells
    return cell


FINE: dict[str, Any] = {}
LOGIN = {"status": 302, "target": "/login?next"}
CART = {"status": 302, "target": "/cart"}
GONE = {"status": 404}


@pytest.mark.parametrize(
    ("usual", "odd", "reason"),
    [
        (FINE, LOGIN, "302 to /login, which the control run never gave"),
        (CART, LOGIN, "302 to /login, which the control run never gave"),
        (FINE, GONE, "404, which the control run never gave"),
        (FINE, {"broken": "JSON"}, "200 with a body that is not complete JSON, which the control"),
    ],
)
def test_what_the_control_run_never_gave_is_red(usual: Any, odd: Any, reason: str) -> None:
    cell = told([usual] * 10, [odd] * 4)
    assert cell.colour == RED
    assert reason in cell.reasons[0]


@pytest.mark.parametrize("answer", [FINE, LOGIN, CART, GONE, {"broken": "JSON"}])
def test_what_the_control_run_gives_is_green(answer: Any) -> None:
    assert told([answer] * 10, [answer] * 8).colour == GREEN


def test_the_name_of_what_was_made_is_volatile() -> None:
    usual = [{"status": 303, "target": f"/posts/{name}"} for name in ("ab", "cd", "ef")]
    assert told(usual, [{"status": 303, "target": "/posts/gh"}]).colour == GREEN
    cell = told(usual, [{"status": 303, "target": "/sorry/gh"}])
    assert (cell.colour, cell.reasons[0][:17]) == (RED, "303 to /sorry/gh,")


def test_shares_are_compared() -> None:
    cell = told([LOGIN, *[FINE] * 10], [LOGIN] * 8)
    assert cell.colour == RED
    assert cell.reasons[0] == "302 to /login to 8 of 8 requests, 2 of 22 in the control run"
    assert told([LOGIN, *[FINE] * 10], [LOGIN, *[FINE] * 7]).colour == GREEN


@pytest.mark.parametrize(("odd", "colour"), [(1, GREEN), (8, RED)])
def test_one_odd_answer_that_nothing_hit_may_be_the_apps_own(odd: int, colour: str) -> None:
    cell = told([FINE] * 10, [FINE, *[GONE] * odd, *[FINE] * 4], hit=False)
    assert cell.colour == colour


def test_a_limit_of_rate_is_decided_by_the_load() -> None:
    limit = {"status": 429}
    assert told([limit, *[FINE] * 10], [limit] * 8).colour == GREEN


def test_a_service_unavailable_is_not_odd() -> None:
    assert told([FINE] * 10, [{"status": 503}] * 4).colour in (GREEN, AMBER, NOT_COVERED)


def test_what_is_not_as_expected_is_red_and_no_steady_state() -> None:
    odd = {"unexpected": "`$.total`"}
    cell = told([FINE] * 10, [odd] * 4)
    assert cell.colour == RED
    assert cell.reasons[0].startswith("200 that is not as expected (`$.total`), which")
    story = Story(RESET)
    story.phase("steady")
    story.sent(seen={}, **odd)
    story.phase("during", 0)
    steady = judge(story.end()).steady
    assert steady.reason == "GET /: 1 of 1 answers were not as expected: `$.total`"
