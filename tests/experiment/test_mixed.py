"""Perturbations that come and go over one mixed load: planned, run, judged, replayed, limited."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError
from seism.experiment.config import Experiment, Limits, Planned, Random
from seism.experiment.limit import Guarded, LimitReached
from seism.experiment.plan import Step, at_random, make, stretches
from seism.options import build
from tests.test_cli import Seism, cache, seism

__all__ = ["cache", "seism"]

pytestmark = pytest.mark.timeout(240)

MIX = [(Planned("slow", "db", "latency"), 1), (Planned("away", "db", "down"), 3)]
SCHEDULED = """
[[perturbation]]
name = "away"
backend = "cache"
type = "down"
at = 4
lasting = 6
[[perturbation]]
name = "slow"
backend = "cache"
type = "latency"
attributes = { latency = 30 }
at = 6
lasting = 12
[limits]
at_most = 2
"""
RANDOM = """
[random]
length = 40
every = 12
lasting = 5
[[random.mix]]
name = "reset"
backend = "cache"
type = "reset_peer"
[[random.mix]]
name = "slow"
backend = "cache"
type = "latency"
attributes = { latency = 20 }
weight = 2
"""
NO_PHASES = '[[perturbation]]\nname = "cache reset"\nbackend = "cache"\ntype = "reset_peer"\n'


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


@given(st.integers(0, 2**32), st.integers(1, 3), st.sampled_from(["requests", "seconds"]))
def test_a_random_plan_comes_from_the_seed_and_keeps_the_limit(
    seed: int, at_most: int, unit: str
) -> None:
    options = Random(unit=unit, length=120, every=10, lasting=12)
    planned = at_random(options, MIX, at_most, seed)
    assert planned == at_random(options, MIX, at_most, seed)
    assert planned == at_random(replace(options, seed=seed), MIX, at_most, seed + 1)
    assert len({one.name for one in planned}) == len(planned)
    for one in planned:
        assert one.at is not None and 0 <= one.at <= 120
        assert 6 <= one.lasting <= 18
        there = [each for each in planned if (each.at or 0) <= one.at < each.end]
        assert len(there) <= at_most
        assert sum(each.type == "down" for each in there) <= 1


def test_another_seed_is_another_plan() -> None:
    options = Random(length=400, every=10, lasting=4)
    plans = [at_random(options, MIX, 1, seed) for seed in range(5)]
    assert all(one != other for one, other in pairwise(plans))


def test_stretches() -> None:
    one = Planned("one", "db", "latency", at=3, lasting=5)
    two = Planned("two", "db", "noop", at=5, lasting=10)
    steps = [Step(index, planned, 0, 0) for index, planned in enumerate((one, two))]
    found = stretches(steps, 9)
    assert [(each.length, [s.index for s in each.active]) for each in found] == [
        (3, []), (2, [0]), (3, [0, 1]), (7, [1]), (9, []),
    ]  # fmt: skip
    assert [[s.index for s in each.begins] for each in found] == [[], [0], [1], [], []]
    assert [[s.index for s in each.ends] for each in found] == [[], [], [], [0], [1]]


def experiment(**values: Any) -> Experiment:
    backend = [{"name": "db", "upstream": "127.0.0.1:1"}]
    return build(Experiment, {"backend": backend, **values}, "file")


def planned(**values: Any) -> dict[str, Any]:
    return {"name": "a", "backend": "db", "type": "down", **values}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([planned(at=1)], "at needs lasting"),
        ([planned(lasting=1)], "lasting needs at .when it begins., or unit"),
        ([planned(at=1.5, lasting=1)], "whole numbers of requests"),
        ([planned(at=1, lasting=1, route="GET /")], "a route or at, not both"),
        ([planned(at=1, lasting=3), planned(name="b", at=2, lasting=3)], "limits.at_most is 1"),
        (
            [planned(at=1, lasting=3), planned(name="b", at=9, lasting=3, unit="seconds")],
            "in requests or in seconds, not both",
        ),
    ],
)
def test_a_schedule_that_cannot_be(values: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        experiment(perturbation=values)


def test_a_backend_is_taken_away_once() -> None:
    both = [planned(at=1, lasting=3), planned(name="b", at=2, lasting=3)]
    with pytest.raises(ConfigurationError, match="is down already"):
        experiment(perturbation=both, limits={"at_most": 2})


def test_only_random_ones_have_no_phases() -> None:
    found = make(experiment(random={"length": 60, "every": 5, "lasting": 2}), 1)
    assert found and all(step.planned.at is not None for step in found)
    assert [step.planned.at for step in found] == sorted(step.planned.at or 0 for step in found)


def test_scheduled_ones_overlap_and_each_request_is_its_own_ones(
    seism: Seism, tmp_path: Path
) -> None:
    """``/`` answers an honest 503; ``/weak`` fails while the cache is away, not while slow."""
    seism.experiment("/", "/weak", "/idle", more=SCHEDULED, **{NO_PHASES: ""})
    done = seism.run("run")
    assert done.code == 1, done.err + done.out
    matrix = report(tmp_path / "seism-report")["matrix"]
    assert matrix["GET /weak"] == {"away": "red", "slow": "green"}
    assert matrix["GET /"] == {"away": "green", "slow": "green"}
    assert set(matrix["GET /idle"].values()) == {"not covered"}


def test_random_ones_are_the_same_three_times_and_in_a_replay(seism: Seism, tmp_path: Path) -> None:
    seism.experiment("/", "/weak", more=RANDOM, **{NO_PHASES: ""})
    seen = []
    for number in range(3):
        assert seism.run("run", "--seed", "4", "--report-dir", f"run{number}").code == 1
        found = report(tmp_path / f"run{number}")
        seen.append((found["plan"], found["matrix"]))
    assert seen[0] == seen[1] == seen[2]
    plan, matrix = seen[0]
    assert {step["type"] for step in plan} == {"reset_peer", "latency"}
    for name, colour in matrix["GET /weak"].items():
        assert colour == ("red" if name.startswith("reset") else "green")
    assert set(matrix["GET /"].values()) == {"green"}
    assert seism.run("replay", "run0/journal.jsonl", "--report-dir", "again").code == 1
    again = report(tmp_path / "again")
    assert (again["plan"], again["matrix"]) == (plan, matrix)


def test_scheduled_in_seconds(seism: Seism, tmp_path: Path) -> None:
    more = SCHEDULED.replace("at = 4", 'unit = "seconds"\nat = 0.4')
    more = more.replace("at = 6", 'unit = "seconds"\nat = 1.4').replace("= 12", "= 0.5")
    more = more.replace("lasting = 6", "lasting = 0.6")
    seism.experiment("/", "/weak", more=more, **{NO_PHASES: "", "after = 8": "after_seconds = 0.5"})
    done = seism.run("run")
    assert done.code == 1, done.err + done.out
    matrix = report(tmp_path / "seism-report")["matrix"]
    assert matrix["GET /weak"] == {"away": "red", "slow": "green"}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("seconds = 1", "its maximum duration of 1 s is over"),
        ("red = 1", "1 perturbations are red: cache reset"),
        ("error_percent = 10", "% of .* requests failed, 10 % may"),
    ],
)
def test_a_run_stops_at_its_limit(seism: Seism, tmp_path: Path, limits: str, said: str) -> None:
    late = (
        '[[perturbation]]\nname = "late"\nbackend = "cache"\ntype = "noop"\nat = 4\nlasting = 400\n'
    )
    seism.experiment("/weak", "/idle", more=f"{late}[limits]\n{limits}\n")
    done = seism.run("run")
    assert done.code == 1, done.err + done.out
    found = report(tmp_path / "seism-report")
    (why,) = [each for each in found["findings"] if "was stopped" in each]
    assert why.startswith("the run was stopped: ")
    with pytest.raises(LimitReached, match=said):
        raise LimitReached(why)
    journal = (tmp_path / "seism-report" / "journal.jsonl").read_text().splitlines()
    kinds = [json.loads(line) for line in journal]
    assert [each["phase"] for each in kinds if each["kind"] == "phase"][-1] == "end"
    assert sum(each["kind"] == "stopped" for each in kinds) == 1


def test_failures_count_from_the_first_perturbation() -> None:
    guarded = Guarded(Limits(error_percent=10), lambda: 0.0)
    bad = {"requests": 50, "routes": {"GET /": {
        "statuses": {"200": 30, "503": 10}, "no_response": 5, "truncated": 5}}}  # fmt: skip
    guarded.add(bad)
    guarded.check(100, 100)
    guarded.perturbing()
    guarded.check(19, 19)
    guarded.check(20, 2)
    with pytest.raises(LimitReached, match=r"40\.0 % of 50 requests"):
        guarded.add(bad)


@pytest.mark.parametrize("version", ["2", "0", '"1"'])
def test_a_version_that_is_not_known(seism: Seism, version: str) -> None:
    seism.experiment("/")
    file = seism.folder / "seism.toml"
    file.write_text(f"version = {version}\nkeys_of_tomorrow = 1\n" + file.read_text())
    done = seism.run("run")
    assert done.code == 2
    assert "version: " in done.line() and "is not known here, 1 is" in done.line()
