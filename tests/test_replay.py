"""Replay and shrink as a user meets them: a real app, real backends, real reruns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT
from tests.test_cli import Seism, cache, seism

__all__ = ["cache", "seism"]

pytestmark = pytest.mark.timeout(240)

BUG = '        if path == "/weak":\n            raise\n'
TEN = "".join(
    f'[[perturbation]]\nname = "slow {ms}"\nbackend = "cache"\ntype = "latency"\n'
    f"attributes = {{ latency = {ms} }}\n"
    for ms in range(1, 10)
)


def matrix(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return {"plan": report["plan"], "matrix": report["matrix"]}


def test_what_chance_decided_is_the_same_three_times(seism: Seism, tmp_path: Path) -> None:
    seism.experiment("/", "/weak", more="toxicity = 0.6\n")
    assert seism.run("run", "--seed", "5").code == 1
    seen = []
    for number in range(3):
        folder = f"again{number}"
        done = seism.run("replay", "seism-report/journal.jsonl", "--report-dir", folder)
        assert done.code == 1, done.err + done.out
        seen.append(matrix(tmp_path / folder))
    assert seen[0] == seen[1] == seen[2]
    assert {step["route"] for step in seen[0]["plan"]} == {"GET /", "GET /weak"}
    assert all(step["turn"] for step in seen[0]["plan"])
    weak = seen[0]["matrix"]["GET /weak"]
    assert {name: colour for name, colour in weak.items() if "GET /weak" in name} == {
        name: "red" for name in weak if "GET /weak" in name
    }


def test_a_replay_of_some(seism: Seism) -> None:
    seism.experiment("/", "/weak", more=TEN.replace('"slow 1"', '"slow one"'))
    seism.run("run")
    done = seism.run("replay", "seism-report/journal.jsonl", "--only", "slow one")
    assert done.code == 0, done.out
    done = seism.run("replay", "seism-report/journal.jsonl", "--only", "slow two")
    assert done.code == 2
    assert "no perturbation 'slow two' in the plan" in done.line()


def test_ten_shrink_to_one_and_the_test_fails_until_the_repair(
    seism: Seism, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    shutil.copy(ROOT / "tests" / "experiment" / "small_app.py", app)
    seism.experiment("/", "/weak", more=TEN, **{"tests.experiment.small_app": "small_app"})
    file = tmp_path / "seism.toml"
    file.write_text(file.read_text().replace(f'cwd = "{ROOT}"', f'cwd = "{app}"'))
    assert seism.run("run").code == 1
    done = seism.run("shrink", "seism-report/journal.jsonl", "--quiet")
    assert done.code == 0, done.err + done.out
    assert "GET /weak breaks under cache reset alone (1 of 10 perturbations" in done.out
    (test,) = tmp_path.glob("test_*.py")

    def pytest_says() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", test.name],
            cwd=tmp_path, env={**seism.env, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    failed = pytest_says()
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "GET /weak under cache reset: 500" in failed.stdout
    assert "hit by p" in failed.stdout
    source = app / "small_app.py"
    text = source.read_text()
    assert BUG in text
    source.write_text(text.replace(BUG, ""))
    passed = pytest_says()
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert seism.left() == []
    assert os.path.exists(tmp_path / "seism-shrink" / "1" / "journal.jsonl")


def test_nothing_to_shrink(seism: Seism) -> None:
    seism.experiment("/")
    seism.run("run")
    done = seism.run("shrink", "seism-report/journal.jsonl")
    assert (done.code, done.line()) == (2, "seism: nothing is red")
