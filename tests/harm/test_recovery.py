"""The time of a recovery, against an app whose time is known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seism.journal import read
from seism.verdict.result import AMBER, GREEN, RED
from seism.verdict.timeline import build
from tests.harm.lab import Lab
from tests.servers import Valkey

pytestmark = pytest.mark.timeout(240)

ALL = os.environ.get("SEISM_RECOVERY_SECONDS", "0.1 1 5").split()
"""The times, in seconds; ``make proof`` has 60 as well."""
WITHIN_S, WITHIN_SHARE = 0.05, 0.1
"""How far the figure may be from the truth: the larger of the two."""


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with Valkey() as server:
        yield f"127.0.0.1:{server.port}"


def lab(valkey: str, seconds: str, rules: str) -> Lab:
    return Lab(
        "recover_app", valkey, 'name = "down"\ntype = "down"', env={"RECOVER_S": seconds},
        load="workers = 4\nsteady = 20\nduring = 8\nafter = 4\nagain = 8\npause_ms = 10",
        rules=rules, routes=("/",),
    )  # fmt: skip


@pytest.mark.parametrize("seconds", ALL)
def test_a_recovery_has_the_time_that_it_took(tmp_path: Path, valkey: str, seconds: str) -> None:
    judgement = lab(valkey, seconds, "recover_s = 90\nrecover_slow_s = 3").judge(tmp_path)
    (cell,) = judgement.cells
    timeline = build(list(read(tmp_path / "run" / "journal.jsonl")))
    undone = max(end.at for end in timeline.ends.values() if end.outcome == "enabled")
    truth = float((tmp_path / "truth").read_text(encoding="utf-8").split()[-1]) - undone
    found = cell.recovery
    assert found is not None
    assert found.seconds == pytest.approx(truth, abs=max(WITHIN_S, WITHIN_SHARE * truth))
    assert found.requests > 0
    assert cell.colour == (GREEN if float(seconds) < 3 else AMBER), cell.reasons


def test_the_rules_say_how_long_it_may_take(tmp_path: Path, valkey: str) -> None:
    judgement = lab(valkey, "3", "recover_s = 1").judge(tmp_path)
    (cell,) = judgement.cells
    assert cell.colour == RED
    assert cell.reasons[0].startswith("not recovered within 1 s")


def test_what_never_recovers_is_seen_in_the_last_control_run(tmp_path: Path, valkey: str) -> None:
    judgement = lab(valkey, "600", "recover_s = 1").judge(tmp_path)
    (cell,) = judgement.cells
    assert cell.colour == RED
    assert "never, until restarted: 32 of 32 requests of the last control run" in cell.reasons[0]


def test_the_next_perturbation_begins_with_an_app_that_is_well(tmp_path: Path, valkey: str) -> None:
    again = '\n[[perturbation]]\nname = "again"\nbackend = "store"\ntype = "down"'
    twice = lab(valkey, "600", "recover_s = 1")
    judgement = replace(twice, perturbation=twice.perturbation + again).judge(tmp_path)
    cells = {cell.perturbation: cell for cell in judgement.cells}
    assert {name: cell.colour for name, cell in cells.items()} == {"down": RED, "again": RED}
    assert all(cell.reasons[0].startswith("not recovered within 1 s") for cell in cells.values())
    # It is the first of them that was followed by a new start.
    assert sum("never, until restarted" in cell.reasons[0] for cell in cells.values()) == 1
