"""Exceptions behind answers that look fine."""

from __future__ import annotations

from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, Cell, Judgement
from tests.story import Story


def judged(*, usual: str = "", during: str = "") -> Judgement:
    """Of a run whose requests raise these exceptions behind a 200."""
    story = Story(("db reset", "db", "reset_peer"))
    story.phase("steady")
    story.requests(8, exception=usual)
    story.phase("during", 0)
    story.perturb(0, *[story.request(exception=during or usual) for _ in range(4)])
    story.phase("after", 0)
    story.requests(6, exception=usual)
    return judge(story.end())


def cell(judgement: Judgement) -> Cell:
    (found,) = judgement.cells
    return found


def test_it_is_named_and_amber_where_the_request_was_hit() -> None:
    judgement = judged(during="app.Lost")
    assert judgement.warnings == (
        "GET /: app.Lost was raised behind an answer below 500 in 4 of 18 requests",
    )
    assert cell(judgement).colour == AMBER
    assert cell(judgement).reasons == ("app.Lost was raised behind an answer with the status 200",)


def test_it_is_named_in_the_control_run_too() -> None:
    judgement = judged(usual="app.Always")
    assert cell(judgement).colour == GREEN
    (warning,) = judgement.warnings
    assert warning.endswith(" in 18 of 18 requests, 8 of them in the control run")


def test_where_nothing_is_raised_nothing_is_said() -> None:
    assert judged().warnings == ()
