"""What only a proxy saw belongs to the one request that ran."""

from __future__ import annotations

import pytest

from seism.experiment.point import Learnt, learnt_of
from seism.journal import Reached
from seism.verdict.judgement import judge
from seism.verdict.result import GREEN, NOT_COVERED
from seism.verdict.timeline import build
from seism_middleware.contract import ALONE
from tests.story import Story


def swept(*, idle: int = 0, looked: bool = True, at_once: bool = False) -> Story:
    """A sweep whose route sends 20 bytes per request, seen by the proxy alone; while nothing ran,
    ``idle`` bytes came. ``at_once``: another request runs while the probe's does.
    """
    story = Story(("db reset", "db", "reset_peer"))
    story.plan[0]["probe"] = True
    sent = 0

    def look() -> None:
        story.now += 0.01
        story.add(Reached(story.now, {"db": {"connections": 1, "bytes": sent}}))

    story.phase("steady")
    look()
    if looked:
        story.now += 1
        sent += idle
        look()
    story.requests(2, "GET /asks")
    story.now += 0.01
    sent += 40
    look()
    story.requests(2, "GET /plain")
    story.now += 0.01
    look()
    story.phase("during", 0)
    if at_once:
        story.request("GET /plain", duration=1.0)
    story.request("GET /asks")
    story.perturb(0)
    story.phase("after", 0)
    story.requests(3, "GET /asks")
    return story


def test_what_only_the_proxy_saw_is_learnt() -> None:
    learnt = learnt_of(build(swept().end()), ["GET /asks", "GET /plain"], 2)
    assert learnt == [
        Learnt("GET /asks", "GET /asks", {"db": 1}),
        Learnt("GET /plain", "GET /plain", {}),
    ]


def test_what_others_send_all_the_time_is_nobody_s() -> None:
    learnt = learnt_of(build(swept(idle=7).end()), ["GET /asks", "GET /plain"], 2)
    assert [each.sends for each in learnt] == [{}, {}]
    assert {each.unknown for each in learnt} == {frozenset({"db"})}


def test_it_is_exact_where_one_request_ran() -> None:
    story = swept()
    judgement = judge(story.end())
    cell = judgement.cell("GET /asks", "db reset")
    assert cell is not None
    assert (cell.colour, cell.exact) == (GREEN, 1)
    ((attribution,),) = build(story.entries).attributions.values()
    assert (attribution.evidence, attribution.exact) == (ALONE, True)


@pytest.mark.parametrize("how", [{"idle": 7}, {"looked": False}, {"at_once": True}])
def test_it_is_not_said_where_it_does_not_hold(how: dict[str, int]) -> None:
    judgement = judge(swept(**how).end())  # type: ignore[arg-type]
    cell = judgement.cell("GET /asks", "db reset")
    assert cell is not None
    assert (cell.colour, cell.exact) == (NOT_COVERED, 0)
    said = any("somebody talks to it" in warning for warning in judgement.warnings)
    assert said == ("idle" in how)
