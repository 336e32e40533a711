"""A hang is red; a client that gives up during a delay of ours blames nobody."""

from __future__ import annotations

import pytest

from seism.journal import TIMED_OUT, ClientRequest
from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, RED
from seism_middleware.contract import Attribution, PerturbationBegan, PerturbationEnded
from tests.story import Story

PATIENCE = 15.0


def waiting(
    type_: str,
    *spans: tuple[float, float],
    outcome: str = "passed",
    gave_up: bool = True,
    usual: float = 0.006,
) -> tuple[str, str]:
    """(colour, reason) of a request that waited for ``PATIENCE``, while a toxic of ``type_`` held
    it up in ``spans``, in seconds from its start.
    """
    story = Story(("db late", "db", type_))
    story.phase("steady")
    for _ in range(120):  # so that one failure is significant
        story.sent("/", seconds=usual, seen={"duration": usual})
    story.phase("during", 0)
    began = story.now + 0.01
    if gave_up:
        request = story.sent("/", TIMED_OUT, None, PATIENCE, seen={})
    else:
        request = story.sent("/", seconds=PATIENCE, seen={})
    for number, (first, last) in enumerate(spans):
        key = f"p{number}"
        at = began + first
        story.add(PerturbationBegan(key, "db", "db late", type_, at, client="a:1", offset=0))
        story.add(PerturbationEnded(key, began + last, outcome, offset=9))
        story.add(Attribution(key, request, "ledger", exact=True))
    story.now += PATIENCE
    story.phase("after", 0)
    (cell,) = judge(story.end()).cells
    return cell.colour, "; ".join(cell.reasons)


@pytest.mark.parametrize("spans", [[(0.1, 15.0)], [(0.1, 5), (5, 9.9), (8, 14.9)]])
def test_delays_that_add_up_to_the_client_s_patience(spans: list[tuple[float, float]]) -> None:
    colour, reason = waiting("latency", *spans)
    assert colour == AMBER
    assert "gave up after 15.0 s" in reason


def test_a_route_whose_deadline_is_longer_than_its_client_waits() -> None:
    colour, reason = waiting("latency", (0.1, 15.0), usual=14.0)
    assert colour == AMBER and "was delayed by Seism that long" in reason
    assert waiting("timeout", (0.1, 15.0), usual=14.0)[0] == RED


@pytest.mark.parametrize(
    ("type_", "spans"), [("latency", [(0.1, 3.0)]), ("timeout", [(0.1, 15.0)]), ("latency", [])]
)
def test_no_delay_of_ours_explains_it(type_: str, spans: list[tuple[float, float]]) -> None:
    colour, reason = waiting(type_, *spans)
    assert colour == RED
    assert "no response: its client gave up after 15.0 s" in reason


def test_a_hang_until_the_perturbation_is_undone() -> None:
    assert waiting("timeout", (0.1, 14.9), outcome="removed", gave_up=False) == (
        RED,
        "hung until the perturbation was undone, for 15.0 s",
    )


@pytest.mark.parametrize(
    ("type_", "last", "outcome"),
    [("timeout", 14.9, "closed"), ("timeout", 0.5, "removed"), ("latency", 14.9, "removed")],
)
def test_slow_and_no_hang(type_: str, last: float, outcome: str) -> None:
    colour, reason = waiting(type_, (0.1, last), outcome=outcome, gave_up=False)
    assert colour == AMBER
    assert "slower than the deadline" in reason


@pytest.mark.parametrize(("last", "colour"), [(9.9, AMBER), (4.0, RED)])
def test_queued_behind_others_that_are_delayed(last: float, colour: str) -> None:
    """It began when the threads were free again, and was delayed then itself."""
    story = Story(("db late", "db", "latency"))
    story.phase("steady")
    for _ in range(10):
        story.sent("/", seen={})
    story.phase("during", 0)
    at = story.now
    first = story.request("GET /", duration=last)
    story.now = at + 9.99
    late = story.request("GET /", duration=PATIENCE - 10, client="queued")
    story.add(ClientRequest("queued", "GET /", at, PATIENCE, TIMED_OUT, None))
    for key, hit, begin, end in (
        ("p0", first, at + 0.01, at + last),
        ("p1", late, at + 10, at + 14.9),
    ):
        story.add(PerturbationBegan(key, "db", "db late", "latency", begin, client="a:1", offset=0))
        story.add(PerturbationEnded(key, end, "passed", offset=9))
        story.add(Attribution(key, hit, "ledger", exact=True))
    story.now = at + 20
    story.phase("after", 0)
    (cell,) = judge(story.end()).cells
    assert cell.colour == colour


@pytest.mark.parametrize(
    ("type_", "took", "spans", "colour"),
    [
        ("late", 1.6, 3, GREEN),
        ("late", 2.5, 3, AMBER),
        ("late", 1.4, 1, AMBER),
        ("latency", 1.6, 3, AMBER),
    ],
)
def test_short_delays_are_no_slow_answer(type_: str, took: float, spans: int, colour: str) -> None:
    """It waited for a connection behind others whose replies were late by 0.3 s each."""
    story = Story(("db late", "db", type_))
    story.phase("steady")
    for _ in range(10):
        story.sent("/", seen={})
    story.phase("during", 0)
    began = story.now
    request = story.request("GET /", duration=took)
    for number in range(spans):
        key, at = f"p{number}", began + 0.3 * number
        story.add(PerturbationBegan(key, "db", "db late", type_, at, client="a:1", offset=0))
        story.add(PerturbationEnded(key, at + 0.3, "passed", offset=9))
    story.add(Attribution("p0", request, "ledger", exact=True))
    story.now = began + took
    story.phase("after", 0)
    (cell,) = judge(story.end()).cells
    assert cell.colour == colour, cell.reasons
