"""A health check whose backend is down, on journals whose right verdict is known."""

from __future__ import annotations

import pytest

from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN
from seism_middleware.contract import SendCount
from tests.story import Story

DOWN = ("cache down", "cache", "down")
ASKS = (SendCount("cache", "127.0.0.1:9", 1, 9),)


@pytest.mark.parametrize(
    ("route", "status", "others", "colour"),
    [
        ("GET /__heartbeat__", 200, 503, AMBER),
        ("GET /health/ready", 200, 503, AMBER),
        ("GET /health/ready", 200, 200, GREEN),
        ("GET /healthz", 503, 503, GREEN),
        ("GET /already/{id}", 200, 503, GREEN),
    ],
)
def test_it_says_that_all_is_well(route: str, status: int, others: int, colour: str) -> None:
    """``others``: what another route, which asks the same backend, answers meanwhile."""
    story = Story(DOWN)
    story.phase("steady")
    for each in (route, "GET /other"):
        story.requests(12, each, sends=ASKS)
    story.phase("during", 0)
    hit = [story.request(route, status) for _ in range(6)]
    story.perturb(0, *hit, story.request("GET /other", others))
    story.phase("after", 0)
    for each in (route, "GET /other"):
        story.requests(8, each, sends=ASKS)
    (cell,) = [cell for cell in judge(story.end()).cells if cell.route == route]
    assert cell.colour == colour
    assert ("a health check that says all is well" in str(cell.reasons)) == (colour == AMBER)


def test_one_that_asks_no_backend_may_say_so() -> None:
    story = Story(DOWN)
    story.phase("steady")
    story.requests(12, "GET /__lbheartbeat__")
    story.requests(12, "GET /health")
    story.phase("during", 0)
    story.perturb(0, story.request("GET /health"))
    story.phase("after", 0)
    story.requests(8, "GET /health")
    assert all("health check" not in str(cell.reasons) for cell in judge(story.end()).cells)
