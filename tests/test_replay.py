"""Replay and shrink as a user meets them: a real app, real backends, real reruns."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seism.demo.backends import Backends
from seism.journal import read
from seism_middleware.contract import PerturbationBegan, PerturbationEnded
from tests.demo import repaired
from tests.processes import ROOT, until
from tests.test_cli import Seism, cache, seism

__all__ = ["cache", "seism"]

pytestmark = pytest.mark.timeout(240)

BUG = '        if path == "/weak":\n            raise\n'
TEN = "".join(
    f'[[perturbation]]\nname = "slow {ms}"\nbackend = "cache"\ntype = "latency"\n'
    f"attributes = {{ latency = {ms} }}\n"
    for ms in range(1, 10)
)


LOAD = """\
[load]
workers = 4
steady = 10
during = 6
after = 8
pause_ms = 0
[[load.route]]
path = "/"
[[load.route]]
path = "/items/7"
[[load.route]]
path = "/stock"
"""


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, str]]:
    """What the example's file asks for."""
    with Backends() as running:
        yield {f"DEMO_{name.upper()}": address for name, address in running.addresses.items()}


@pytest.fixture
def example(tmp_path: Path, backends: dict[str, str]) -> Seism:
    """The example app, planted weaknesses and all, with a small load and no perturbations."""
    app = repaired.copy(tmp_path / "app")
    file = app / "seism.toml"
    file.write_text(file.read_text().partition("[load]")[0] + LOAD)
    found = Seism(app, "")
    found.env |= backends
    return found


def add(example: Seism, *perturbations: str) -> None:
    with (example.folder / "seism.toml").open("a") as file:
        file.writelines(f"[[perturbation]]\n{each}\n" for each in perturbations)


def matrix(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return {"plan": report["plan"], "matrix": report["matrix"]}


def weaknesses(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "report.json").read_text())["weaknesses"]
    return found


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


def pytest_says(seism: Seism, test: Path) -> subprocess.CompletedProcess[str]:
    """What becomes of a generated test."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", test.name],
        cwd=test.parent, env={**seism.env, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def draws(folder: Path) -> dict[tuple[str, str, int], tuple[float, ...]]:
    """Proxy, toxic and number of the connection, which name a stream -> its draws in order."""
    began: dict[str, PerturbationBegan] = {}
    found: dict[tuple[str, str, int], tuple[float, ...]] = {}
    for entry in read(folder / "journal.jsonl"):
        record = entry.record
        if isinstance(record, PerturbationBegan):
            began[record.perturbation] = record
        elif isinstance(record, PerturbationEnded):
            first = began[record.perturbation]
            key = first.proxy, first.toxic, first.connection
            if first.chance is not None:
                found.setdefault(key, (first.chance, *record.drawn))
    return found


def test_the_same_seed_three_times(example: Seism) -> None:
    common = 'backend = "cache"\ntoxicity = 0.95\n'
    add(
        example,
        f'name = "reset"\n{common}type = "reset_peer"',
        f'name = "jitter"\n{common}type = "latency"\nattributes = {{ latency = 5, jitter = 4 }}',
    )
    seen = []
    for number in range(3):
        # This seed spares none of the first forty connections: the app's pool could use nothing
        # but the one that is spared.
        done = example.run("run", "--seed", "7", "--report-dir", f"out{number}")
        assert done.code == 1, done.err + done.out
        seen.append(matrix(example.folder / f"out{number}"))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0]["matrix"]["GET /stock"]["reset"] == "red"
    first, *others = (draws(example.folder / f"out{number}") for number in range(3))
    for other in others:
        # How many connections there are is the app's own affair; what is drawn for one is not.
        both = first.keys() & other.keys()
        assert {toxic for _, toxic, _ in both} == {"reset", "jitter"}
        for key in both:
            count = min(len(first[key]), len(other[key]))
            assert first[key][:count] == other[key][:count], key


def test_ten_shrink_to_one_and_the_test_passes_on_the_repaired_example(example: Seism) -> None:
    latencies = [
        f'name = "{backend} slow {ms}"\nbackend = "{backend}"\ntype = "latency"\n'
        f"attributes = {{ latency = {ms} }}"
        for backend in ("cache", "db") for ms in range(1, 6)
    ]  # fmt: skip
    add(example, *latencies[1:], 'name = "cache reset"\nbackend = "cache"\ntype = "reset_peer"')
    assert example.run("run").code == 1
    done = example.run("shrink", "seism-report/journal.jsonl", "--quiet")
    assert done.code == 0, done.err + done.out
    assert "GET /stock breaks under cache reset alone (1 of 10 perturbations" in done.out
    (test,) = example.folder.glob("test_*.py")
    failed = pytest_says(example, test)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "GET /stock under cache reset: 500" in failed.stdout
    repaired.change(example.folder, repaired.REPAIRS)
    passed = pytest_says(example, test)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert example.left() == []


def test_a_replay_of_some(seism: Seism) -> None:
    seism.experiment("/", "/weak", more=TEN.replace('"slow 1"', '"slow one"'))
    seism.run("run")
    done = seism.run("replay", "seism-report/journal.jsonl", "--only", "slow one")
    assert done.code == 0, done.out
    done = seism.run("replay", "seism-report/journal.jsonl", "--only", "slow two")
    assert done.code == 2
    assert "no perturbation 'slow two' in the plan" in done.line()


def test_the_command_of_a_weakness_shows_it_alone(seism: Seism, tmp_path: Path) -> None:
    down = '[[perturbation]]\nname = "cache down"\nbackend = "cache"\ntype = "down"\nlasting = 0\n'
    seism.experiment("/", "/weak", more=down + TEN[: TEN.index("[[", 1)])
    seism.run("run")
    (weakness,) = weaknesses(tmp_path / "seism-report")
    program, *arguments = shlex.split(weakness["again"])
    assert program == "seism"
    done = seism.run(*arguments)
    assert done.code == 1, done.out + done.err
    (again,) = weaknesses(tmp_path / "seism-replay")
    assert again["fingerprint"] == weakness["fingerprint"]
    name = arguments[arguments.index("--only") + 1]
    assert matrix(tmp_path / "seism-replay")["matrix"] == {"GET /weak": {name: "red"}}
    refused = seism.run("replay", "seism-report/journal.jsonl", "--route", "GET /waek")
    assert refused.code == 2
    assert refused.line() == (
        "seism: --route: the load has no 'GET /waek'; did you mean 'GET /weak'?"
    )


@pytest.mark.parametrize("command", ["replay", "shrink"])
def test_what_is_interrupted_says_so(seism: Seism, tmp_path: Path, command: str) -> None:
    seism.experiment("/weak")
    assert seism.run("run").code == 1
    file = tmp_path / "seism.toml"
    file.write_text(file.read_text().replace("during = 5", "during = 100000"))
    process = seism.start(command, "seism-report/journal.jsonl")
    folder = tmp_path / f"seism-{command}" / ("1" if command == "shrink" else "")
    journal = folder / "journal.jsonl"
    until(lambda: journal.exists() and b'"perturbation.began"' in journal.read_bytes())
    process.send_signal(signal.SIGINT)
    done = seism.finish(process)
    assert done.code == 130
    if command == "replay":
        assert "exit code 130" in done.out
        assert (folder / "report.json").is_file()
        assert done.line() == "seism: interrupted; seism-replay has what there was until then"
    else:
        assert "seism: stopped at replay 1: the run was interrupted" in done.err
        # It was red by then.
        assert len(list(tmp_path.glob("test_*.py"))) == 1
    assert seism.left() == []


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

    failed = pytest_says(seism, test)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "GET /weak under cache reset: 500" in failed.stdout
    assert "hit by p" in failed.stdout
    source = app / "small_app.py"
    text = source.read_text()
    assert BUG in text
    source.write_text(text.replace(BUG, ""))
    passed = pytest_says(seism, test)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert seism.left() == []
    assert os.path.exists(tmp_path / "seism-shrink" / "1" / "journal.jsonl")


def test_nothing_to_shrink(seism: Seism) -> None:
    seism.experiment("/")
    seism.run("run")
    done = seism.run("shrink", "seism-report/journal.jsonl")
    assert (done.code, done.line()) == (2, "seism: nothing is red")
