"""Which pairs a sweep tries, from what was seen of each perturbation alone."""

from __future__ import annotations

from typing import Any

from seism.experiment.config import SweptToxic
from seism.experiment.pairs import ENDED, MANY, NOT_GREEN, SAME, Chosen, choose
from seism.experiment.point import Learnt, Point
from seism.verdict.judgement import judge
from seism.verdict.timeline import build
from seism_middleware.contract import SendCount
from tests.story import Story

SLOW, RESET, DOWN = (
    SweptToxic("slow", "latency"), SweptToxic("reset", "reset_peer"), SweptToxic("down", "down"),
)  # fmt: skip
ROUTE = Learnt("GET /", "GET /", {"cache": 1, "db": 1})


def sends(**count: int) -> dict[str, Any]:
    return {"sends": tuple(SendCount(name, f"{name}:1", n, 9) for name, n in count.items())}


def chosen(*tried: tuple[Point, dict[str, Any]], most: int = 10) -> Chosen:
    """From one probe of each point, in which a request was hit and ended so."""
    story = Story(*((p.planned().name, p.backend, p.toxic.type) for p, _ in tried))
    story.phase("steady")
    story.requests(10)
    for index, (_, ended) in enumerate(tried):
        story.phase("during", index)
        story.perturb(index, story.request(**ended))
        story.phase("after", index)
        story.requests(3)
    entries = story.end()
    return choose(build(entries), judge(entries), [point for point, _ in tried], most, 4)


def columns(found: Chosen) -> list[str]:
    return [pair.column for pair in found.pairs]


CACHE_SLOW = Point(ROUTE, "cache", SLOW, 1)
CACHE_RESET = Point(ROUTE, "cache", RESET, 1)
DB_SLOW, DB_RESET = Point(ROUTE, "db", SLOW, 1), Point(ROUTE, "db", RESET, 1)
ON = sends(cache=1, db=1)
"""Went on in spite of the perturbation."""
ENDS = {"status": 503, **sends(cache=1)}
"""Ended at the cache, and never came to the database."""


def test_two_backends_of_a_request_that_goes_on() -> None:
    found = chosen((CACHE_SLOW, ON), (DB_SLOW, {"status": 503, **ON}))
    assert columns(found) == ["cache slow #1 + db slow #1"]
    (pair,) = found.pairs
    first, second = pair.planned(), pair.partner()
    assert (first.backend, second.backend, first.route) == ("cache", "db", "GET /")
    assert first.name == "cache slow #1 + db slow #1: GET /"
    assert first.toxic != second.toxic
    assert (found.possible, found.saved) == (1, {})


def test_a_request_that_ends_with_the_first_is_not_tried() -> None:
    found = chosen((CACHE_SLOW, ENDS), (DB_SLOW, {"status": 503, **ON}))
    assert (columns(found), found.saved) == ([], {ENDED: 1})


def test_what_behaved_the_same_is_tried_once() -> None:
    found = chosen(
        (CACHE_SLOW, ON), (CACHE_RESET, ON), (DB_SLOW, {"status": 503, **ON}),
        (DB_RESET, {"status": 503, **ON}),
    )  # fmt: skip
    assert columns(found) == ["cache slow #1 + db slow #1"]
    assert (found.possible, found.saved) == (4, {SAME: 3})


def test_what_is_red_alone_says_nothing_in_a_pair() -> None:
    found = chosen((CACHE_SLOW, {"status": 500, **ON}), (DB_SLOW, {"status": 503, **ON}))
    assert (columns(found), found.saved) == ([], {NOT_GREEN: 1})


def test_a_retry_is_an_exchange_that_only_the_first_brings_about() -> None:
    found = chosen((DB_RESET, sends(cache=1, db=3)))
    assert columns(found) == ["db reset #1 + db reset #2", "db reset #1 + db reset #3"]
    assert found.pairs[0].second.planned().turn == 2


def test_a_fallback_to_another_backend() -> None:
    other = Learnt("GET /a", "GET /", {"cache": 1})
    fallback = Point(other, "cache", DOWN, 0), {"sends": sends(db=1)["sends"]}
    # Nothing is known of the database alone on this route: what it takes is not there.
    assert columns(chosen(fallback)) == []


def test_the_most_and_what_has_more_to_lose_first() -> None:
    two = Learnt("GET /two", "GET /", {"db": 2})
    fails = Point(two, "db", SLOW, 1), {"status": 503, **sends(db=2)}
    second = Point(two, "db", SLOW, 2), {"status": 503, **sends(db=2)}
    found = chosen(fails, second, (DB_RESET, sends(cache=1, db=2)), most=1)
    assert columns(found) == ["db reset #1 + db reset #2"]
    assert found.saved == {MANY.format(1): 1}
