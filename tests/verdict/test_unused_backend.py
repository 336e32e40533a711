"""Routes that stop asking a backend after a perturbation."""

from __future__ import annotations

import pytest

from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, Judgement
from seism_middleware.contract import Refused, SendCount
from tests.story import Story

ASKS = {"sends": (SendCount("mc", "127.0.0.1:9", 2, 20),)}
TRIES = {"refused": (Refused("mc", 1),)}


def judged(silent: float, *, again: bool = True, usual: int = 20) -> Judgement:
    """Of a run in which a route asks nobody for ``silent`` seconds after the outage."""
    story = Story(("mc down", "mc", "down"), ("mc reset", "mc", "reset_peer"))
    story.phase("steady")
    story.requests(usual, **ASKS)
    story.requests(20 - usual)
    story.phase("during", 0)
    story.perturb(0, *[story.request(**TRIES) for _ in range(4)])
    story.phase("after", 0)
    for _ in range(10):
        story.now += silent / 10
        story.request()
    story.requests(10, **(ASKS if again else {}))
    story.phase("during", 1)
    hit = [story.request(**(ASKS if again else {})) for _ in range(4)]
    if again:
        story.perturb(1, *hit)
    story.phase("after", 1)
    story.requests(6, **(ASKS if again else {}))
    return judge(story.end())


def test_a_backend_that_is_not_asked_any_more() -> None:
    judgement = judged(12, again=False)
    first, second = judgement.cells
    assert first.colour == AMBER
    assert first.reasons == (
        "has not used mc since mc down: 40 exchanges before, 0 of 30 requests after",
    )
    assert second.colour == NOT_COVERED
    assert second.reasons == first.reasons
    assert judgement.never_fired == ()


def test_a_breaker_that_stays_open_too_long() -> None:
    first, second = judged(12).cells
    assert first.colour == AMBER
    assert first.reasons[0].startswith("has not used mc for 12 s after mc down: ")
    assert second.colour == GREEN


def test_what_never_fired_while_a_breaker_was_open_says_so() -> None:
    story = Story(("mc down", "mc", "down"), ("mc reset", "mc", "reset_peer"))
    story.phase("steady")
    story.requests(20, **ASKS)
    story.phase("during", 0)
    story.perturb(0, *[story.request(**TRIES) for _ in range(4)])
    story.phase("after", 0)
    story.requests(6)
    story.phase("during", 1)
    story.requests(6)
    story.phase("after", 1)
    story.requests(6, **ASKS)
    assert "mc reset never fired: the app had not used mc since mc down" in [
        *judge(story.end()).warnings
    ]


@pytest.mark.parametrize("silent", [0, 2])
def test_a_breaker_that_closes_in_time(silent: float) -> None:
    assert [cell.colour for cell in judged(silent).cells] == [GREEN, GREEN]


def test_a_route_that_asks_now_and_then() -> None:
    assert judged(12, usual=10).cells[0].colour == GREEN
