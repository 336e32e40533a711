"""Each request of the load, and each perturbation, is in exactly one cell or in a control run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.journal import COMPLETE, LEFT, OUTCOMES, STALE
from seism.verdict.conservation import why_never_fired
from seism.verdict.judgement import judge
from seism.verdict.timeline import build
from tests.story import Story

STEPS = (("db slow", "db", "latency"), ("db down", "db", "down"), ("cache reset", "cache", "reset"))
PATHS = ("/", "/things/7", "/late")

seen = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"route": st.sampled_from(["GET /", "GET /things/{name}", "GET /things/7", "GET /x"])},
        optional={
            "status": st.sampled_from([None, 200, 500, 503]),
            "body": st.sampled_from(["complete", "truncated", "none"]),
            "exception": st.just("KeyError"),
        },
    ),
)
requests = st.lists(
    st.fixed_dictionaries(
        {
            "path": st.sampled_from(PATHS),
            "outcome": st.sampled_from(OUTCOMES),
            "status": st.sampled_from([None, 200, 302, 404, 500, 503]),
            "seconds": st.sampled_from([0.001, 3.0]),
            "seen": seen,
            "hit": st.booleans(),
        }
    ),
    max_size=6,
)


def tell(phases: list[tuple[list[Any], list[Any]]]) -> tuple[Story, dict[str, int]]:
    """A run of a steady app, and how many of its requests are to be in the cells of each step."""
    story = Story(*STEPS[: len(phases)])
    story.phase("warmup")
    story.sent("/late", outcome="refused", status=None)
    story.phase("steady")
    for path in PATHS[:2]:
        route = "GET /things/{name}" if path == "/things/7" else f"GET {path}"
        for _ in range(3):
            story.sent(path, seen={"route": route})
    placed = {}
    for step, (during, after) in enumerate(phases):
        placed[STEPS[step][0]] = 0
        for phase, sent in (("during", during), ("after", after)):
            story.phase(phase, step)
            for fields in sent:
                values = dict(fields)
                hit = values.pop("hit")
                if values["outcome"] == COMPLETE and values["status"] is None:
                    values["status"] = 200
                request = story.sent(**values)
                if hit and phase == "during":
                    story.perturb(step, *([request] if values["seen"] is not None else []))
                outside = values["outcome"] in (LEFT, STALE) and values["seen"] is None
                placed[STEPS[step][0]] += not outside
    return story, placed


@given(st.lists(st.tuples(requests, requests), min_size=1, max_size=3))
def test_each_request_of_the_load_is_in_one_cell(phases: list[tuple[list[Any], list[Any]]]) -> None:
    story, placed = tell(phases)
    entries = story.end()
    judgement = judge(entries)
    assert judgement.steady.met, judgement.steady.reason
    assert judgement.unplaced == ()
    for step, count in placed.items():
        cells = [cell for cell in judgement.cells if cell.perturbation == step]
        assert sum(cell.requests for cell in cells) == count
        assert len({cell.route for cell in cells}) == len(cells) == len(judgement.routes)
    timeline = build(entries)
    controlled = 7  # of the warm-up and the control run
    assert len(timeline.clients) == controlled + sum(placed.values()) + len(timeline.outside)
    for step in placed:
        touched = any(
            cell.exact or cell.possible for cell in judgement.cells if cell.perturbation == step
        )
        assert touched or step in judgement.never_fired or story.perturbed(step)


def test_what_is_in_no_cell_is_an_error_of_ours() -> None:
    story, _ = tell([([], [])])
    story.phase("during", 0)  # again: the verdict looks at the first
    story.sent("/", seen={})
    judgement = judge(story.end())
    lines = ("1 request in no cell: GET / under db slow",)
    assert judgement.unplaced == lines
    assert lines[0] in judgement.warnings
    lost = replace(judgement, colour="green", never_fired=())
    assert lost.exit_code() == 4
    assert replace(lost, unplaced=()).exit_code() == 0


def test_a_perturbation_that_begins_outside_of_its_time_is_in_no_cell() -> None:
    story, _ = tell([([], [])])
    story.phase("control")
    story.perturb(0)
    judgement = judge(story.end())
    assert judgement.unplaced == ("1 perturbation in no cell: db slow on db in the phase control",)


def test_nothing_judged_is_no_success() -> None:
    story, _ = tell([([], [])])
    judgement = judge(story.end())
    assert judgement.colour == "not covered"
    assert replace(judgement, never_fired=()).exit_code() == 4


def test_what_never_fired_has_its_reason() -> None:
    story, _ = tell([([], []), ([], [])])
    timeline = build(story.end())
    assert why_never_fired(timeline, 0) == "no request ran while it lasted"
    assert "to connect to db" in why_never_fired(timeline, 1)
    assert any(
        line == "db slow never fired: no request ran while it lasted"
        for line in judge(story.entries).warnings
    )


def test_a_request_of_a_mixed_load_that_was_hit_by_what_is_over_is_in_a_cell() -> None:
    story = Story(*STEPS[:2])
    story.phase("steady")
    story.sent("/", seen={})
    for active in ([0], [], [1]):
        story.mixed(*active)
        hit = [story.sent("/", seen={}) for _ in range(3)]
    story.perturb(0, hit[0])
    story.perturb(1, hit[1])
    judgement = judge(story.end())
    assert judgement.unplaced == ()
    requests = {cell.perturbation: cell.requests for cell in judgement.cells}
    assert requests == {"db slow": 6, "db down": 3}


@pytest.mark.parametrize(("type_", "strays"), [("half_open", 0), ("latency", 1)])
def test_a_dead_connection_may_be_used_long_after_its_step(type_: str, strays: int) -> None:
    story = Story(("db", "db", type_))
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    story.perturb(0, story.request())
    story.phase("after", 0)
    story.requests(10)
    story.phase("control")
    story.perturb(0, story.request())
    assert len(judge(story.end()).unplaced) == strays
