"""What a journal says is to be done again."""

from __future__ import annotations

import pytest

from seism.errors import ConfigurationError
from seism.experiment.config import Load, Planned, Route
from seism.experiment.replay import only, seed_and_plan
from seism.journal import Plan
from seism.verdict.timeline import load_route
from seism_middleware.contract import Attribution
from tests.story import Story

LOAD = Load(route=(Route("/"), Route("/items/7?x=1"), Route("/orders", method="POST")))


def test_what_is_certain_stays_as_it_was() -> None:
    story = Story(("db slow", "db", "latency"), ("db down", "db", "down"))
    seed, planned = seed_and_plan(story.end(), LOAD)
    assert seed == 1
    assert planned == [Planned("db slow", "db", "latency"), Planned("db down", "db", "down")]


def test_a_plan_that_came_later_counts() -> None:
    story = Story(("db slow", "db", "latency"))
    story.add(Plan(({"name": "x", "backend": "db", "type": "noop", "turn": 2},)))
    assert seed_and_plan(story.end(), LOAD)[1] == [Planned("x", "db", "noop", turn=2)]


def test_chance_becomes_route_occurrence_and_exchange() -> None:
    story = Story(("db slow", "db", "latency"))
    step = {**story.plan[0], "toxicity": 0.5, "attributes": {"latency": 9}}
    story.add(Plan((step,)))
    story.phase("during", 0)
    story.requests(3, "GET /items/{id}")
    hit = story.request("GET /items/{id}")
    key = story.perturb(0)
    story.add(Attribution(key, hit, "ledger", True, "hit", "bytes", 2))
    possible = story.request("GET /")
    story.add(Attribution(key, possible, "ledger", False, "hit", "bytes", 1))
    story.request("GET /items/{id}")
    _, planned = seed_and_plan(story.end(), LOAD)
    assert planned == [
        Planned(
            "db slow: GET /items/7?x=1 #2", "db", "latency", attributes={"latency": 9},
            route="GET /items/7?x=1", turn=2, occurrence=4,
        )
    ]  # fmt: skip


def test_a_journal_without_a_plan() -> None:
    with pytest.raises(ConfigurationError, match="no plan"):
        seed_and_plan(Story().end(), LOAD)


def test_only_some() -> None:
    planned = [Planned(name, "db", "down") for name in "abc"]
    assert only(planned, ()) == planned
    assert [one.name for one in only(planned, ("c", "a"))] == ["a", "c"]
    with pytest.raises(ConfigurationError, match="no perturbation 'x'"):
        only(planned, ("x",))


def test_which_route_of_the_load_a_pattern_is() -> None:
    routes = [f"{route.method} {route.path}" for route in LOAD.route]
    assert load_route("GET /items/{id}", routes) == "GET /items/7?x=1"
    assert load_route("GET /", routes) == "GET /"
    assert load_route("POST /orders", routes) == "POST /orders"
    assert load_route("GET /orders", routes) is None
    assert load_route("GET /items", routes) is None
