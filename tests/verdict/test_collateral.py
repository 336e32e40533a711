"""Requests that nothing hit, and that fail because of what hit others."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, COLLATERAL, GREEN, NOT_COVERED, RED, UNSURE, Cell
from seism.verdict.significance import fisher_exact, holm
from seism_middleware.contract import SendCount
from tests.story import Story

RESETS = ("db resets", "db", "exchange_reset")
DOWN = ("db down", "db", "down")
ASKS = {"sends": (SendCount("db", "127.0.0.1:9", 1, 20),)}


def cell_of(story: Story, route: str = "GET /") -> Cell:
    story.phase("after", 0)
    story.requests(5)
    (cell,) = [cell for cell in judge(story.end()).cells if cell.route == route]
    return cell


def one_hit_then(failed: int, fine: int, *, usual: int = 0) -> Cell:
    """One request of many is hit; ``failed`` of those that are not answer 503. ``usual``: how many
    of 100 do so in the control run.
    """
    story = Story(RESETS, toxicity=0.01)
    story.phase("steady")
    story.requests(usual, status=503)
    story.requests(100 - usual)
    story.requests(10, "GET /well")
    story.phase("during", 0)
    story.perturb(0, story.request(status=503))
    story.requests(failed, status=503)
    story.requests(fine)
    return cell_of(story)


@pytest.mark.parametrize(
    ("failed", "fine", "colour"), [(0, 100, GREEN), (20, 80, AMBER), (20, 5, AMBER), (80, 20, RED)]
)
def test_what_one_hit_does_to_others(failed: int, fine: int, colour: str) -> None:
    cell = one_hit_then(failed, fine)
    assert cell.colour == colour
    if failed:
        (why,) = cell.reasons
        assert why.startswith(f"collateral: {failed} of {failed + fine} requests that nothing hit")
        assert why.endswith("0 of 100 in the control run")
        assert cell.worst is not None
        assert (cell.worst.role, cell.worst.hit_by, cell.worst.exact) == (COLLATERAL, "p1", False)


def test_a_route_that_fails_at_its_own_rate_is_not_blamed() -> None:
    assert COLLATERAL not in " ".join(one_hit_then(22, 78, usual=20).reasons)


def test_what_fails_between_two_probes_is_not_its_own_rate() -> None:
    story = Story(RESETS, ("db slow", "db", "latency"))
    story.phase("steady")
    story.requests(30)
    for step in (0, 1):
        story.phase("warmup")
        story.requests(10, status=500 if step else 200)
        story.phase("during", step)
        story.perturb(step, story.request())
        story.requests(4, status=500 if step else 200)
        story.requests(6)
        story.phase("after", step)
        story.requests(5)
    assert judge(story.end()).matrix["GET /"] == {"db resets": GREEN, "db slow": RED}


def test_a_route_that_fails_far_beyond_its_own_rate_is() -> None:
    assert one_hit_then(90, 10, usual=20).colour == RED


@pytest.mark.parametrize("failing", [20, 90])
def test_the_same_for_errors(failing: int) -> None:
    """A route that fails now and then by itself, and one that does so because of others."""
    story = Story(RESETS, toxicity=0.01)
    story.phase("steady")
    story.requests(20, "GET /moody", 500)
    story.requests(80, "GET /moody")
    story.requests(10)
    story.phase("during", 0)
    story.perturb(0, story.request())
    story.requests(failing, "GET /moody", 500)
    story.requests(100 - failing, "GET /moody")
    cell = cell_of(story, "GET /moody")
    assert cell.colour == (NOT_COVERED if failing == 20 else RED)
    assert cell.worst is None or cell.worst.role == COLLATERAL


@pytest.mark.parametrize(("asks", "colour"), [(True, GREEN), (False, AMBER)])
def test_an_honest_503_is_right_for_who_needs_a_backend_that_is_down(
    asks: bool, colour: str
) -> None:
    """A circuit breaker answers without asking; a route that never asks has no reason to fail."""
    story = Story(DOWN)
    story.phase("steady")
    story.requests(20, **ASKS)
    story.requests(20, "GET /other", **(ASKS if asks else {}))
    story.phase("during", 0)
    story.perturb(0, story.request(status=503))
    story.requests(20, "GET /other", 503)
    assert cell_of(story, "GET /other").colour == colour


@pytest.mark.parametrize(("requests", "colour"), [(1, UNSURE), (20, GREEN)])
def test_a_503_that_nothing_is_known_to_have_hit_may_be_chance(requests: int, colour: str) -> None:
    story = Story(DOWN)
    story.phase("steady")
    story.requests(20, **ASKS)
    story.requests(20, "GET /other", **ASKS)
    story.phase("during", 0)
    story.perturb(0, story.request(status=503))
    story.requests(20 - requests, "GET /other", **ASKS)
    story.requests(requests, "GET /other", 503)
    assert cell_of(story, "GET /other").colour == colour


@pytest.mark.parametrize(
    ("table", "chance"),
    [((3, 4, 1, 4), 17 / 70), ((4, 4, 0, 4), 1 / 70), ((0, 5, 3, 5), 1.0), ((1, 1, 0, 10), 1 / 11)],
)
def test_fisher_s_exact_test(table: tuple[int, int, int, int], chance: float) -> None:
    """The lady tasting tea, and what can be counted by hand."""
    assert fisher_exact(*table) == pytest.approx(chance)


@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_it_is_what_counting_all_tables_gives(
    total: int, usual_total: int, data: st.DataObject
) -> None:
    failed = data.draw(st.integers(0, total))
    usual_failed = data.draw(st.integers(0, usual_total))
    every = list(combinations(range(total + usual_total), failed + usual_failed))
    worse = sum(sum(each < total for each in chosen) >= failed for chosen in every)
    expected = worse / len(every)
    assert fisher_exact(failed, total, usual_failed, usual_total) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("chances", "found"),
    [
        ({}, ""),
        ({"a": 0.009}, "a"),
        ({"a": 0.009, "b": 0.5}, ""),
        ({"a": 0.004, "b": 0.009}, "ab"),
        ({"a": 0.001, "b": 0.006, "c": 0.007}, "a"),
    ],
)
def test_holm_s_correction(chances: dict[str, float], found: str) -> None:
    assert holm(chances) == set(found)
