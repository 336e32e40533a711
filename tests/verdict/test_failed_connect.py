"""Connects of C drivers that fail while their connection is perturbed before it is made."""

from __future__ import annotations

from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, Cell
from seism_middleware.contract import Refused
from tests.story import Story

RESET = ("db reset", "db", "reset_peer")
REFUSED = (Refused("db", 1),)


def judged(story: Story, route: str = "GET /") -> Cell:
    story.phase("after", 0)
    story.requests(3)
    (cell,) = [cell for cell in judge(story.end()).cells if cell.route == route]
    return cell


def begun() -> Story:
    story = Story(RESET)
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    return story


def test_each_is_the_request_s_whose_connect_failed() -> None:
    for status, colour in ((503, GREEN), (500, RED)):
        story = begun()
        for _ in range(3):
            story.request(status=status, refused=REFUSED)
            story.perturb(0)
        cell = judged(story)
        assert (cell.colour, cell.exact, cell.possible) == (colour, 3, 0)
    assert cell.worst is not None and cell.worst.exact


def test_of_two_at_the_same_time_both_were_hit_by_one_of_two() -> None:
    story = begun()
    for _ in range(2):
        story.request(status=500, refused=REFUSED, duration=1.0)
    for _ in range(2):
        story.perturb(0)
    cell = judged(story)
    assert (cell.colour, cell.exact) == (RED, 2)
    assert cell.worst is not None and not cell.worst.exact


def test_of_others_it_is_not() -> None:
    for refused in ((), (Refused("cache", 1),)):
        story = begun()
        story.request(refused=refused)
        story.perturb(0)
        assert judged(story).colour == NOT_COVERED
    # A connection that is known has its own request, whoever fails to connect meanwhile.
    story = begun()
    story.requests(10, "GET /other")
    hit = story.request("GET /other", status=503)
    story.request(refused=REFUSED)
    story.perturb(0, hit)
    assert judged(story).exact == 0


def test_a_heartbeat_needs_no_retry_after() -> None:
    for route, colour in (
        ("GET /v1/__heartbeat__", GREEN), ("GET /healthz", GREEN), ("GET /api/ready", GREEN),
        ("GET /health/db", GREEN), ("GET /readings", AMBER), ("POST /ping", AMBER),
    ):  # fmt: skip
        story = Story(RESET)
        story.phase("steady")
        story.requests(10, route)
        story.phase("during", 0)
        story.perturb(0, story.request(route, status=503, retry_after=False))
        assert judged(story, route).colour == colour, route
