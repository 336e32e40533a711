"""The baseline of a real application: what survives another seed, other ports and other lines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.test_cli import Seism, cache, seism

__all__ = ["cache", "seism"]

pytestmark = pytest.mark.timeout(240)

APP = ROOT / "tests" / "experiment" / "small_app.py"


def fingerprints(folder: Path) -> list[str]:
    found = json.loads((folder / "seism-report" / "report.json").read_text())["weaknesses"]
    return [each["fingerprint"] for each in found]


def test_a_baseline_hides_what_it_accepts_and_nothing_else(seism: Seism, tmp_path: Path) -> None:
    app = tmp_path / "small_app.py"
    shutil.copy(APP, app)
    seism.experiment("/", "/weak")
    file = tmp_path / "seism.toml"
    text = file.read_text().replace("tests.experiment.small_app", "small_app")
    file.write_text(text.replace(f'"{ROOT}"', f'"{tmp_path}"'))
    assert seism.run("run").code == 1
    before = fingerprints(tmp_path)
    assert before
    done = seism.run("baseline", "--reason", "known")
    assert done.code == 0, done.err
    assert f"{len(before)} accepted, {len(before)} of them new" in done.out
    app.write_text("# a comment\n" * 20 + app.read_text(), encoding="utf-8")
    done = seism.run("run", "--seed", "99")
    assert fingerprints(tmp_path) == before
    assert done.code == 0, done.out
    assert f"seism-baseline.toml: 0 new, {len(before)} accepted, 0 gone" in done.out
    again = seism.run("report", "seism-report/journal.jsonl", "--fail-on", "red")
    assert again.code == 1
    entries = (tmp_path / "seism-baseline.toml").read_text().partition("[[weakness]]")[0]
    (tmp_path / "seism-baseline.toml").write_text(entries)
    assert seism.run("report", "seism-report/journal.jsonl").code == 1
    shutil.copytree(tmp_path / "seism-report", tmp_path / "old")
    done = seism.run("diff", "old", "seism-report/report.json")
    assert (done.code, done.out.splitlines()[-1]) == (
        0,
        f"0 new, 0 gone, {len(before)} still there",
    )


def test_what_is_missing_is_said_before_a_run(seism: Seism) -> None:
    seism.experiment("/")
    done = seism.run("run", "--fail-on", "new")
    assert done.code == 2
    assert done.line() == (
        "seism: seism-baseline.toml: no such file; seism baseline writes it from a report"
    )
    assert seism.run("baseline").code == 2
