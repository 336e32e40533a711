"""What the client of a request got is what counts, on journals whose right verdict is known."""

from __future__ import annotations

from typing import Any

import pytest

from seism.journal import CUT, LEFT, NOTHING, REFUSED, STALE, TIMED_OUT, ClientRequest
from seism.model import FRONT
from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, Cell, Judgement
from seism.verdict.timeline import build
from tests.story import Story

SLOW = ("db slow", "db", "latency")
DOWN = ("db down", "db", "down")


def under(
    step: tuple[str, str, str] = DOWN, *, hit: bool = False, **during: Any
) -> tuple[Story, str]:
    """A run whose one request under ``step`` went as ``during`` says, and its id."""
    story = Story(step)
    story.phase("steady")
    for _ in range(120):  # so that one failure is significant
        story.sent("/things/7", seen={"route": "GET /things/{name}"})
    story.phase("during", 0)
    request = story.sent("/things/7", **during)
    story.perturb(0, *([request] if hit else []))
    story.phase("after", 0)
    for _ in range(10):
        story.sent("/things/7", seen={"route": "GET /things/{name}"})
    return story, request


def only_cell(judgement: Judgement) -> Cell:
    """Its one cell, which must be in the row of the pattern."""
    assert judgement.routes == ("GET /things/{name}",)
    (cell,) = judgement.cells
    return cell


SEEN = {"route": "GET /things/{name}"}


@pytest.mark.parametrize(
    ("during", "colour", "reason"),
    [
        ({"outcome": NOTHING, "status": None}, RED, "no response, and no worker began it"),
        ({"outcome": REFUSED, "status": None}, RED, "the app accepted no connection"),
        (
            {"outcome": TIMED_OUT, "status": None, "seconds": 15.0},
            RED,
            "no response: its client gave up after 15.0 s, and no worker had begun it",
        ),
        (
            {"outcome": TIMED_OUT, "status": None, "seconds": 5.0, "seen": SEEN | {"status": 200}},
            RED,
            "too late: its client gave up after 5.0 s",
        ),
        (
            {"outcome": TIMED_OUT, "status": None, "seconds": 5.0, "seen": SEEN},
            RED,
            "no response: its client gave up after 5.0 s",
        ),
        (
            {
                "outcome": NOTHING,
                "status": None,
                "seen": SEEN | {"status": 500, "exception": "ConnectionRefusedError"},
            },
            RED,
            "no response: ConnectionRefusedError was raised",
        ),
        ({"outcome": CUT, "seen": SEEN}, RED, "200 with a truncated body"),
        ({"status": 502}, RED, "502"),
        ({"status": 500, "seen": {"route": "GET /things/7"}}, RED, "500"),
        (
            {"status": 503, "seen": SEEN | {"status": 500, "exception": "KeyError"}},
            AMBER,
            "503 without Retry-After",
        ),
        ({"seconds": 3.0, "seen": SEEN | {"duration": 0.1}}, AMBER, "slower than the deadline"),
        ({"seen": SEEN | {"status": None, "body": "none"}}, NOT_COVERED, "did not touch it"),
        ({"seen": SEEN}, NOT_COVERED, "did not touch it"),
    ],
)
def test_one_request(during: dict[str, Any], colour: str, reason: str) -> None:
    story, _ = under(**during)
    cell = only_cell(judge(story.end()))
    assert cell.colour == colour
    assert reason in "; ".join(cell.reasons)
    assert cell.requests == 11


def test_the_route_is_the_pattern_also_of_what_failed_before_the_routing() -> None:
    story, request = under(hit=True, status=500, seen={"route": "GET /things/7"})
    cell = only_cell(judge(story.end()))
    assert (cell.colour, cell.exact) == (RED, 1)
    assert cell.worst is not None and cell.worst.request == request


def test_what_no_worker_began_is_said_to_be_possibly_of_what_was_in_force() -> None:
    story, request = under(outcome=TIMED_OUT, status=None, seconds=15.0)
    worst = only_cell(judge(story.end())).worst
    assert worst is not None
    assert (worst.request, worst.exact, worst.evidence) == (request, False, "control")
    assert worst.what == "down on db"


def test_what_no_worker_began_does_not_count_as_observed() -> None:
    story = Story(DOWN)
    story.phase("steady")
    for _ in range(4):
        story.sent("/")
    story.load(4)
    steady = judge(story.end()).steady
    assert not steady.met
    assert "no observation arrived" in steady.reason


def test_an_answer_that_nobody_observed_is_missing() -> None:
    story, _ = under(seen=SEEN, hit=True)
    story.phase("control")
    story.sent("/things/7", seen=SEEN)
    story.sent("/things/7")
    story.load(2)
    judgement = judge(story.end())
    assert (only_cell(judgement).colour, judgement.dropped) == (GREEN, 1)


def test_what_was_sent_into_a_close_is_no_request_of_the_app() -> None:
    story, request = under(outcome=STALE, status=None)
    timeline = build(story.end())
    assert request not in timeline.requests
    assert [sent.request for sent in timeline.outside] == [request]


def test_what_was_sent_into_a_close_is_no_finding() -> None:
    story = Story(DOWN)
    story.phase("steady")
    for _ in range(10):
        story.sent("/", seen={})
    story.phase("during", 0)
    story.perturb(0, story.sent("/", status=503, seen={"retry_after": True}))
    story.sent("/", STALE, None)
    story.load(2, no_response=1)
    story.phase("after", 0)
    for _ in range(10):
        story.sent("/", seen={})
    assert judge(story.end()).findings == ()


def test_a_request_that_its_worker_began_is_not_lost_in_a_close() -> None:
    story, _ = under(outcome=STALE, status=None, seen=SEEN | {"body": "none"})
    assert only_cell(judge(story.end())).reasons == ("no response",)


def test_what_is_done_to_the_clients_line_is_no_answer_of_the_app() -> None:
    story, _ = under(("front cut", FRONT, "reset_peer"), outcome=NOTHING, status=None)
    assert only_cell(judge(story.end())).colour == NOT_COVERED


def test_what_waited_until_the_perturbation_was_over_was_sent_during_it() -> None:
    story = Story(DOWN)
    story.phase("steady")
    story.sent("/", seen={})
    story.phase("during", 0)
    sent = story.now + 0.01
    story.add(ClientRequest("waits", "GET /", sent, 1.5, TIMED_OUT, None))
    story.now = sent + 2
    story.phase("after", 0)
    request = story.request("GET /", client="waits")
    timeline = build(story.end())
    during, after = timeline.find("during", 0), timeline.find("after", 0)
    assert during is not None and [each.request for each in during.requests] == [request]
    assert after is not None and after.requests == []


def test_an_app_that_passes_the_header_on_is_joined_once() -> None:
    story = Story(DOWN)
    story.phase("steady")
    outer = story.sent("/", seen={})
    story.request("GET /inner", client="load-1")
    timeline = build(story.end())
    assert [timeline.requests[key].route for key in (outer, "w-2")] == ["/", "/inner"]
    assert len(timeline.requests) == 2


def test_without_ids_the_observations_alone_are_judged() -> None:
    story = Story(DOWN)
    story.phase("steady")
    story.request("GET /", 200, client="from-elsewhere")
    timeline = build(story.end())
    assert timeline.requests["w-1"].status == 200


@pytest.mark.parametrize(("status", "colour"), [(503, GREEN), (500, RED)])
def test_a_failed_connect_that_nobody_saw(status: int, colour: str) -> None:
    story = Story(DOWN)
    story.phase("steady")
    for _ in range(10):
        story.sent("/", seen={})
    story.phase("during", 0)
    story.perturb(0)
    for _ in range(4):
        story.sent("/", status=status, seen={})
    story.phase("after", 0)
    for _ in range(10):
        story.sent("/", seen={})
    judgement = judge(story.end())
    (cell,) = judgement.cells
    assert (cell.colour, cell.exact, cell.possible) == (colour, 0, 4)
    assert judgement.never_fired == ()


@pytest.mark.parametrize(
    "seen", [None, SEEN | {"status": None, "exception": "CancelledError"}, SEEN]
)
def test_nothing_is_said_of_the_answer_that_a_client_did_not_wait_for(seen: Any) -> None:
    story, _ = under(
        ("db impatient", "db", "impatient"), outcome=LEFT, status=None, hit=True, seen=seen
    )
    judgement = judge(story.end())
    assert only_cell(judgement).colour in (GREEN, NOT_COVERED)
    assert not judgement.findings
