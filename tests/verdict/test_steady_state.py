"""Control runs: what is flaky by itself is named, and no perturbation is blamed for it."""

from __future__ import annotations

from typing import Any

import pytest

from seism.journal import Reached
from seism.options import build
from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, Judgement
from seism.verdict.rules import Rules
from tests.story import Story

SLOW = ("db slow", "db", "latency")


def run(
    *, steady: int = 0, hit: tuple[int, ...] = (200,) * 10, control: int = 0, after: int = 0
) -> Judgement:
    """``steady``, ``after``, ``control``: how many of 40 requests of /x fail then."""
    story = Story(SLOW)
    story.phase("steady")
    story.requests(40, "GET /well")
    story.requests(40 - steady, "GET /x")
    story.requests(steady, "GET /x", 500)
    story.phase("during", 0)
    story.perturb(0, story.request("GET /well"))
    for status in hit:
        story.perturb(0, story.request("GET /x", status))
    story.phase("after", 0)
    story.requests(10, "GET /well")
    story.requests(40 - after, "GET /x")
    story.requests(after, "GET /x", 500)
    story.phase("control")
    story.requests(40, "GET /well")
    story.requests(40 - control, "GET /x")
    story.requests(control, "GET /x", 500)
    return judge(story.end())


@pytest.mark.parametrize(("steady", "control"), [(2, 0), (0, 2), (3, 3)])
def test_a_flaky_route_is_named_and_nothing_is_blamed(steady: int, control: int) -> None:
    judgement = run(steady=steady, control=control, hit=(200, 500, 200, 200, 500))
    assert judgement.matrix == {
        "GET /well": {"db slow": GREEN}, "GET /x": {"db slow": NOT_COVERED},
    }  # fmt: skip
    assert judgement.cases == ()
    (said,) = judgement.flaky
    assert f"{steady + control} of 80 requests failed without any perturbation (500" in said
    assert said in judgement.warnings
    assert ("after the perturbations" in said) == (steady == 0)
    cell = judgement.cell("GET /x", "db slow")
    assert cell is not None
    assert cell.reasons == (said,)


def test_a_flaky_route_that_always_fails_when_it_is_hit_is_red_all_the_same() -> None:
    judgement = run(steady=2, hit=(500,) * 4)
    assert judgement.matrix["GET /x"] == {"db slow": RED}
    assert len(judgement.flaky) == 1
    assert judgement.exit_code() == 1


def test_a_steady_route_is_judged_as_ever() -> None:
    assert run(hit=(200, 500)).matrix["GET /x"] == {"db slow": RED}
    assert run(hit=(200, 200)).matrix["GET /x"] == {"db slow": GREEN}
    assert run(hit=(200, 500)).flaky == ()


def test_a_route_that_never_recovered_is_not_flaky() -> None:
    judgement = run(hit=(500, 200), after=20, control=10)
    assert judgement.flaky == ()
    assert judgement.matrix["GET /x"] == {"db slow": RED}


def test_a_route_that_mostly_fails_is_broken() -> None:
    judgement = run(steady=20)
    assert judgement.exit_code() == 3
    assert "GET /x: 500" in judgement.steady.reason


def test_damage_that_shows_only_at_the_end_is_red() -> None:
    judgement = run(control=30)
    assert judgement.flaky == ()
    assert judgement.exit_code() == 1
    assert "GET /x: 30 of 40 requests failed after all perturbations" in judgement.findings[0]


@pytest.mark.parametrize(("sent", "met"), [(0, False), (100, True)])
def test_a_backend_that_is_never_reached_is_no_steady_state(sent: int, met: bool) -> None:
    story = Story(SLOW)
    story.phase("steady")
    seen = {"connections": 3, "bytes": 500}
    story.add(Reached(1.0, {"db": seen, "cache": seen}))
    story.requests(10)
    story.add(Reached(2.0, {"db": {**seen, "bytes": 900}, "cache": {**seen, "bytes": 500 + sent}}))
    story.phase("during", 0)
    story.perturb(0, story.request(duration=2))
    story.phase("after", 0)
    story.requests(10)
    judgement = judge(story.end())
    assert judgement.steady.met == met
    if met:
        assert judgement.colour == AMBER
    else:
        assert judgement.exit_code() == 3
        assert "nothing was sent to cache in the control run" in judgement.steady.reason


@pytest.mark.parametrize(("status", "sent"), [(404, 0), (404, 100), (405, 100), (200, 0)])
def test_a_route_that_the_app_does_not_have_is_said(status: int, sent: int) -> None:
    story = Story(SLOW)
    story.phase("steady")
    seen = {"connections": 3, "bytes": 500}
    story.add(Reached(1.0, {"db": seen}))
    story.requests(10)
    for _ in range(5):
        story.request("GET /nope", status=status)
    story.add(Reached(2.0, {"db": {**seen, "bytes": 500 + sent}}))
    story.phase("during", 0)
    story.perturb(0, story.request(duration=2))
    story.phase("after", 0)
    story.requests(10)
    judgement = judge(story.end())
    said = f"GET /nope: every answer of the control run was {status}: check path and method"
    told = judgement.warnings if sent else (judgement.steady.reason,)
    assert any(said in line for line in told) == (status != 200)


def test_a_404_that_is_meant_is_not_said() -> None:
    rules = build(Rules, {"route": {"GET /nope": {"statuses": [404]}}}, "rules")
    story = Story(SLOW, rules=rules)
    story.phase("steady")
    for _ in range(5):
        story.request("GET /nope", status=404)
    assert not any("every answer" in line for line in judge(story.end()).warnings)


def hypothesis(*, control: float = 0.01, **rules: Any) -> Judgement:
    """/x takes 100 ms in the control run before, and ``control`` seconds in the one after."""
    story = Story(SLOW, rules=build(Rules, rules, "rules"))
    story.phase("steady")
    for number in range(40):
        story.request("GET /x", duration=0.1 if number % 4 else 0.5)
    story.phase("during", 0)
    story.perturb(0, story.request("GET /x"))
    story.phase("after", 0)
    story.requests(10, "GET /x")
    story.phase("control")
    for _ in range(40):
        story.request("GET /x", duration=control)
    return judge(story.end())


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"p50_ms": 50}, "GET /x: its p50 is 100 ms, 50 ms are allowed"),
        ({"p99_ms": 400}, "GET /x: its p99 is 500 ms, 400 ms are allowed"),
        ({"p99_ms": 600, "route": {"GET /x": {"p99_ms": 300}}}, "its p99 is 500 ms, 300 ms"),
        (
            {"route": {"GET /x": {"statuses": [204, 404]}}},
            "GET /x: 40 of 40 answers had another status than 204 or 404: 200",
        ),
    ],
)
def test_a_hypothesis_that_does_not_hold_is_no_steady_state(
    rules: dict[str, Any], said: str
) -> None:
    judgement = hypothesis(**rules)
    assert said in judgement.steady.reason
    assert judgement.exit_code() == 3


def test_a_hypothesis_that_holds_before_and_not_after_is_red() -> None:
    wide = {"p50_ms": 200, "p99_ms": 600, "route": {"GET /x": {"statuses": [200]}}}
    assert hypothesis(**wide).exit_code() == 0
    judgement = hypothesis(control=0.3, **wide)
    assert judgement.exit_code() == 1
    assert judgement.findings == (
        "after all perturbations GET /x: its p50 is 300 ms, 200 ms are allowed",
    )
