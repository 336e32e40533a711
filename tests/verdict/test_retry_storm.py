"""Retry storms: what is one, and what must not be taken for one."""

from __future__ import annotations

from typing import Any

import pytest

from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, RED
from seism.verdict.rules import Rules
from seism_middleware.contract import Refused, SendCount
from tests.story import Story


def over(*sends: int, backend: str = "db") -> tuple[SendCount, ...]:
    """``sends`` on a connection each."""
    return tuple(SendCount(backend, f"h:{port}", count, 9) for port, count in enumerate(sends, 1))


def colour(
    hit: dict[str, Any], usual: tuple[SendCount, ...], *, attributed: bool = True,
    rules: Rules | None = None,
) -> str:  # fmt: skip
    """Of a route whose calm requests send ``usual``, the first of them after a login."""
    story = Story(("db down", "db", "down"), rules=rules)
    story.phase("warmup")
    story.request(sends=over(3 + sum(each.sends for each in usual)))
    story.phase("steady")
    story.requests(10, sends=usual)
    story.phase("during", 0)
    request = story.request(status=503, **hit)
    story.perturb(0, story.request(), *([request] if attributed else []))
    story.phase("after", 0)
    story.requests(10, sends=usual)
    return judge(story.end()).matrix["GET /"]["db down"]


@pytest.mark.parametrize(
    ("hit", "expected"),
    [
        ({"refused": (Refused("db", 1),)}, GREEN),
        # 4 sends with the login, so that it might be 4 operations with a connect each.
        ({"refused": (Refused("db", 4 * 6),)}, GREEN),
        ({"refused": (Refused("db", 4 * 7),)}, AMBER),
        ({"refused": (Refused("db", 4 * 22),)}, RED),
        ({"refused": (Refused("cache", 1000),)}, GREEN),
        # A new login for each of three tries.
        ({"sends": over(4, 4, 4)}, GREEN),
        ({"sends": over(*[4] * 28)}, AMBER),
        # The same connection, again and again.
        ({"sends": over(27)}, GREEN),
        ({"sends": over(28)}, AMBER),
        ({"sends": over(88)}, RED),
        ({"sends": over(1000, backend="cache")}, GREEN),
    ],
)
def test_how_often_it_tried(hit: dict[str, Any], expected: str) -> None:
    assert colour(hit, over(1)) == expected


def test_who_always_does_much_is_not_blamed() -> None:
    assert colour({"sends": over(*[4] * 40)}, over(*[4] * 40)) == GREEN
    assert colour({"refused": (Refused("db", 40),)}, over(40)) == GREEN


def test_who_was_not_hit_is_not_blamed() -> None:
    assert colour({"sends": over(1000)}, over(1), attributed=False) == GREEN


def test_the_rules() -> None:
    many = {"refused": (Refused("db", 4 * 22),)}
    assert colour(many, over(1), rules=Rules(retries=30, retry_storm=30)) == GREEN
    assert colour(many, over(1), rules=Rules(retries=2, retry_storm=30)) == AMBER


def test_the_login_of_a_route_that_had_needed_none_is_no_try() -> None:
    story = Story(("db reset", "db", "reset_peer"))
    story.phase("warmup")
    story.request(route="/other", sends=over(10))
    story.phase("steady")
    story.requests(10, sends=over(1))
    story.phase("during", 0)
    request = story.request(status=503, sends=over(10))
    story.perturb(0, request)
    story.phase("after", 0)
    story.requests(10, sends=over(1))
    assert judge(story.end()).matrix["GET /"]["db reset"] == GREEN


def test_clearing_a_pool_of_broken_connections_is_no_try() -> None:
    cleared = [SendCount("db", f"h:{port}", 1, 0) for port in range(50, 90)]
    assert colour({"sends": (*over(1), *cleared)}, over(1)) == GREEN


def test_what_still_suffers_between_two_probes_is_not_usual() -> None:
    story = Story(("db goodbye", "db", "goodbye"), ("db down", "db", "down"))
    story.phase("steady")
    story.requests(10, sends=over(1))
    for step, again in enumerate((1, 3000)):
        story.phase("warmup")
        story.request(status=503, sends=over(step * 200 or 1))
        story.phase("during", step)
        story.perturb(step, story.request(status=503, refused=(Refused("db", again),)))
        story.phase("after", step)
        story.requests(10, sends=over(1))
    assert judge(story.end()).matrix["GET /"]["db down"] == RED
