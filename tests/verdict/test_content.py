"""Contents that differ from the control run's, on journals whose right verdict is known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seism.experiment.answer import Reader
from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, RED, Cell
from seism.verdict.rules import RouteRules, Rules
from seism_middleware.contract import LoggedError
from tests.story import Story

RESET = ("db reset", "db", "reset_peer")
ITEMS = {"items": [{"id": 1}, {"id": 2}, {"id": 3}], "name": "a", "at": 1}
EMPTY = ITEMS | {"items": []}


class Told:
    """A story whose answers have contents."""

    def __init__(self, **rules: Any) -> None:
        self.story = Story(RESET, rules=Rules(route={"GET /": RouteRules(**rules)}))
        self._reader = Reader("salt")
        self._number = 0

    def sent(
        self, value: Any, path: str = "/", type_: str = "application/json", **more: Any
    ) -> str:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        answer = self._reader.read(200, {"content-type": type_}, body)
        self._number += 1
        content = {"content": f"c{self._number}", "parts": dict(answer.parts)}
        return self.story.sent(path, **{"seen": {}, **content, **more})

    def run(
        self,
        usual: list[Any],
        during: list[Any],
        after: list[Any],
        *,
        hit: bool = True,
        **more: Any,
    ) -> Cell:
        self.story.phase("steady")
        for value in usual:
            self.sent(value, **more)
        self.story.phase("during", 0)
        ids = [self.sent(value, **more) for value in during]
        self.story.perturb(0, *(ids if hit else ids[:1]))
        self.story.phase("after", 0)
        for value in after:
            self.sent(value, **more)
        self.story.phase("control")
        for value in usual[:4]:
            self.sent(value, **more)
        (cell,) = judge(self.story.end()).cells
        return cell


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (EMPTY, "`$.items` was a list of 3, now empty"),
        (ITEMS | {"items": [{"id": 1}]}, "`$.items` was a list of 3, now of 1"),
        (ITEMS | {"name": "b"}, "`$.name` is another text"),
        (ITEMS | {"name": ""}, "`$.name` was a text, now an empty text"),
        (ITEMS | {"name": None}, "`$.name` was a text, now null"),
        (ITEMS | {"stale": True}, "`$.stale` is new"),
        ({"name": "a", "at": 1}, "`$.items` is missing"),
        ([], "`$` was an object, now an empty list"),
    ],
)
def test_what_differs_is_degraded(value: Any, reason: str) -> None:
    cell = Told().run([ITEMS] * 8, [value] * 4, [ITEMS] * 4)
    assert cell.colour == AMBER
    assert cell.reasons == (
        f"degraded: 4 of 4 requests got other content than in the control run: {reason}",
    )


@pytest.mark.parametrize("colour", [GREEN, AMBER, RED])
def test_a_rule_says_what_is_wanted(colour: str) -> None:
    cell = Told(degraded=colour).run([ITEMS] * 8, [EMPTY] * 4, [ITEMS] * 4)
    assert cell.colour == colour


def test_volatile_parts_are_left_out() -> None:
    usual = [ITEMS | {"ticket": number, "tags": ["x"] * number} for number in range(1, 9)]
    during = [ITEMS | {"ticket": "?", "tags": ["x"] * 20, "at": 3}] * 4
    assert Told().run(usual, during, usual).colour == GREEN


def test_a_list_that_grows_may_not_be_empty() -> None:
    usual = [{"notes": list(range(number))} for number in range(3, 12)]
    cell = Told().run(usual, [{"notes": []}] * 4, usual)
    assert "`$.notes` was a list of at least 3, now empty" in cell.reasons[0]


def test_what_a_perturbed_write_left_behind_is_not_blamed_on_reads() -> None:
    assert Told().run([ITEMS] * 8, [EMPTY] * 4, [EMPTY] * 4).colour == GREEN


def test_one_answer_of_few_is_no_proof() -> None:
    assert Told().run([ITEMS] * 8, [EMPTY], [ITEMS] * 4).colour == GREEN


def test_without_enough_answers_of_the_control_run_nothing_is_said() -> None:
    assert Told().run([ITEMS] * 4, [EMPTY] * 8, [ITEMS] * 4).colour == GREEN


def test_what_nothing_hit_is_degraded_too_if_it_is_no_coincidence() -> None:
    assert Told().run([ITEMS] * 8, [ITEMS, *[EMPTY] * 8], [ITEMS] * 4, hit=False).colour == AMBER
    assert Told().run([ITEMS] * 8, [*[ITEMS] * 8, EMPTY], [ITEMS] * 4, hit=False).colour == GREEN


def test_lines_of_a_text() -> None:
    page = b"<html><p>a</p><p>b</p></html>"
    html = {"type_": "text/html"}
    cell = Told().run([page] * 8, [page.replace(b"a", b"c")] * 4, [page] * 4, **html)
    assert "1 of 5 lines is missing, 1 is new" in cell.reasons[0]
    usual = [page.replace(b"a", b"%d" % number) for number in range(8)]
    assert Told().run(usual, [page] * 4, usual, **html).colour == GREEN


def of_four(value: Any, **more: Any) -> Cell:
    """The cell of a run in which four requests are hit, and get ``value``."""
    told = Told()
    told.story.phase("steady")
    for _ in range(8):
        told.sent(ITEMS)
    told.story.phase("during", 0)
    told.story.perturb(0, *[told.sent(value, **more) for _ in range(4)])
    told.story.phase("after", 0)
    told.sent(ITEMS)
    told.story.phase("control")
    for _ in range(4):
        told.sent(ITEMS)
    (cell,) = judge(told.story.end()).cells
    return cell


def test_the_type_of_a_body() -> None:
    cell = of_four(b"sorry", type_="text/plain")
    assert "its type was application/json, now text/plain" in cell.reasons[0]


LOGGED = {"errors": (LoggedError("app", "app:12", backends=("db",)),)}


def test_an_error_in_the_log_is_mentioned() -> None:
    cell = of_four(EMPTY, seen=LOGGED)
    assert cell.reasons[0].endswith("now empty; 4 of 4 requests logged an error about it")


WORKS = (
    "4 of 4 requests that were hit got the same content as in the control run, without db; 4 of "
    "them logged an error"
)


def test_a_fallback_that_works_is_said() -> None:
    cell = of_four(ITEMS, seen=LOGGED)
    assert (cell.colour, cell.notes) == (
        GREEN,
        (WORKS,),
    )
    assert of_four(ITEMS).notes == ()
