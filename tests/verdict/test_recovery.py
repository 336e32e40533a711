"""How long a route takes to be as before, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seism.verdict.judgement import judge
from seism.verdict.recovery import Reference, recovery_point
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, UNSURE, Cell, Judgement
from seism.verdict.rules import RouteRules, Rules
from seism_middleware.contract import Census, OpenConnection, SendCount
from tests.story import Story

DOWN = ("db down", "db", "down")
SLOW = ("db slow", "db", "latency")
CLEAN = Reference(0, 80)


def answers(text: str) -> list[bool]:
    """``B`` a bad one, ``g`` a good one."""
    return [each == "g" for each in text]


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("g" * 8, 0),
        ("BBBBggg", 4),
        ("BBBBgg", None),
        ("BBBB" + 40 * "g" + "B" + 40 * "g", 4),
        ("BBgBg" + 40 * "g", 4),
        ("gB" + 27 * "g", 2),
        (10 * "BBgg", None),
        (30 * "Bggg", None),
        ("BBBB", None),
        ("", None),
        ("g", 0),
    ],
)
def test_where_a_recovery_begins(text: str, point: int | None) -> None:
    assert recovery_point(answers(text), CLEAN, strict=True) == point


def test_a_route_that_fails_at_its_own_rate_has_recovered() -> None:
    flaky = answers(8 * "ggggggggBg")
    assert recovery_point(flaky, Reference(8, 80), strict=True) == 0
    assert recovery_point(flaky, CLEAN, strict=True) is None


def run(failing: int, then: int = 10, rules: Rules | None = None, closing: int = 0) -> Judgement:
    """A route that answers 503 ``failing`` times after the end, 10 ms each, and ``then`` well; and
    ``closing`` times in the last control run.
    """
    story = Story(DOWN, rules=rules)
    story.phase("steady")
    story.requests(40)
    story.phase("during", 0)
    story.perturb(0, *[story.request(status=503) for _ in range(3)])
    story.phase("after", 0)
    story.requests(failing, status=503)
    story.requests(then)
    story.phase("control")
    story.requests(closing, status=503)
    story.requests(20 - closing)
    return judge(story.end())


def cell(judgement: Judgement) -> Cell:
    (found,) = judgement.cells
    return found


@pytest.mark.parametrize(
    ("failing", "colour", "seconds"), [(0, GREEN, 0.0), (10, GREEN, 0.1), (60, AMBER, 0.6)]
)
def test_a_recovery_is_a_time(failing: int, colour: str, seconds: float) -> None:
    found = cell(run(failing, rules=Rules(recover_slow_s=0.5)))
    assert found.recovery is not None
    assert found.colour == colour
    assert found.recovery.seconds == pytest.approx(seconds, abs=0.02)
    assert found.recovery.requests == failing


def test_not_recovered_within_the_time_of_the_rules() -> None:
    found = cell(run(60, then=0, rules=Rules(recover_s=0.5)))
    assert (found.colour, found.reasons[0]) == (
        RED, "not recovered within 0.5 s (60 of 60 requests)",
    )  # fmt: skip
    assert found.worst is not None
    assert found.worst.phase == "after"
    own = Rules(recover_s=0.5, route={"GET /": RouteRules(recover_s=2)})
    assert cell(run(60, then=10, rules=own)).colour == GREEN


def test_an_aftershock_that_was_too_short_to_know() -> None:
    found = cell(run(6, then=0))
    assert found.colour == AMBER
    assert found.reasons[0].startswith("not recovered when its aftershock ended, after 0.1 s")


def test_never_until_restarted() -> None:
    found = cell(run(60, then=0, rules=Rules(recover_s=0.5), closing=20))
    assert found.colour == RED
    assert found.reasons[0].endswith(
        "; never, until restarted: 20 of 20 requests of the last control run failed"
    )


def test_what_hits_a_route_that_is_still_broken_is_not_thrown_away() -> None:
    story = Story(DOWN, SLOW, rules=Rules(recover_s=0.05))
    story.phase("steady")
    story.requests(20)
    for step, status in ((0, 503), (1, 500)):
        story.phase("during", step)
        story.perturb(step, *[story.request(status=status) for _ in range(5)])
        story.phase("after", step)
        story.requests(10, status=503)
    assert judge(story.end()).matrix == {"GET /": {"db down": RED, "db slow": RED}}


def test_what_came_after_a_new_start_is_judged_anew() -> None:
    story = Story(DOWN, SLOW, rules=Rules(recover_s=0.05))
    story.phase("steady")
    story.requests(20)
    story.phase("during", 0)
    story.perturb(0, story.request(status=503))
    story.phase("after", 0)
    story.requests(10, status=503)
    story.phase("warmup", 1)
    story.phase("during", 1)
    story.perturb(1, story.request(status=503))
    story.phase("after", 1)
    story.requests(10)
    assert judge(story.end()).matrix == {"GET /": {"db down": RED, "db slow": GREEN}}
    assert NOT_COVERED not in judge(story.end()).matrix["GET /"].values()


def stale(failing: int, reused: bool, pooled: int = 4) -> Judgement:
    """``failing`` requests after a reset, on the connections that it broke unless ``reused``."""
    story = Story(("db reset", "db", "reset_peer"), rules=Rules(recover_s=0.2))
    story.phase("steady")
    story.requests(40)
    story.add(
        Census("c", story.now, None, tuple(
            OpenConnection("db", f"127.0.0.1:{n}", None, None) for n in range(1, pooled + 1)
        ))
    )  # fmt: skip
    story.phase("during", 0)
    for _ in range(failing):
        story.perturb(0, story.request(status=503))
        record = story.entries[-2].record
        story.entries[-2] = replace(story.entries[-2], record=replace(record, outcome="reset"))
    story.phase("after", 0)
    for port in range(1, failing + 1):
        local = port if reused else 1000 + port
        story.requests(3)
        story.request(status=500, sends=(SendCount("db", f"127.0.0.1:{local}", 1, 8),))
    story.requests(40)
    return judge(story.end())


def test_a_single_failure_on_a_broken_connection_is_stale() -> None:
    judgement = stale(1, reused=True)
    (harm,) = judgement.harms
    assert (harm.kind, harm.colour, harm.exact) == ("stale", AMBER, True)
    assert harm.what.startswith("1 request failed after it on 1 connection to db that it had")
    (found,) = judgement.cells
    assert (found.colour, judgement.colour) == (AMBER, AMBER)
    assert found.reasons == ("stale: 500 on a connection that db reset had broken",)
    assert found.recovery is not None
    assert found.recovery.seconds == 0.0


def test_a_failure_on_another_connection_is_not_stale() -> None:
    judgement = stale(1, reused=False)
    assert [harm.kind for harm in judgement.harms] == []
    assert {cell.colour for cell in judgement.cells} == {UNSURE}


def test_what_goes_on_failing_on_broken_connections_is_red() -> None:
    story = Story(("db reset", "db", "reset_peer"), rules=Rules(recover_s=0.2))
    story.phase("steady")
    story.requests(40)
    story.phase("during", 0)
    story.perturb(0, story.request(status=503))
    record = story.entries[-2].record
    story.entries[-2] = replace(story.entries[-2], record=replace(record, outcome="reset"))
    story.phase("after", 0)
    story.requests(40, status=500, sends=(SendCount("db", "127.0.0.1:1", 1, 8),))
    judgement = judge(story.end())
    assert [(harm.kind, harm.colour) for harm in judgement.harms] == [("stale", RED)]
    assert judgement.matrix == {"GET /": {"db reset": RED}}
