"""``pytest --seism`` on a suite that knows nothing of Seism, of a sick app and its healthy twin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seism.journal import read
from seism.pytest_plugin import without_own
from seism.verdict.judgement import judge
from seism.verdict.result import GREEN
from tests.processes import ROOT
from tests.servers import Valkey

TESTS = """
import pytest
from tests.testing.suite_app import app

@pytest.mark.parametrize("name", [101, 202])
def test_counts(name):
    answer = app.test_client().get(f"/count/{name}")
    assert answer.status_code == 200

def test_idle():
    assert app.test_client().get("/idle").data == b"no backend"

def test_nothing():
    pass

def test_broken():
    assert app.test_client().get("/count/303").status_code == 418
"""


TRIED = """
[[sweep.toxic]]
name = "down"
type = "down"
[[sweep.toxic]]
name = "reset"
type = "reset_peer"
"""


@pytest.fixture(scope="module")
def cache() -> Iterator[str]:
    with Valkey() as running:
        yield f"127.0.0.1:{running.port}"


def judged(folder: Path, cache: str, sick: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, report and output of the suite."""
    (folder / "test_it.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "seism.toml").write_text(
        f'[rules]\nrecover_s = 1\n[[backend]]\nname = "cache"\nupstream = "{cache}"\n'
        f'protocol = "redis"\n{TRIED}',
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--seism", "--seism-budget=200", "test_it.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CACHE": cache, "SICK": sick},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    report = folder / "seism-report" / "report.json"
    assert report.exists(), done.stdout + done.stderr
    assert (folder / "seism-report" / "junit.xml").exists()
    return done.returncode, json.loads(report.read_text(encoding="utf-8")), done.stdout


ROUTE = "GET /count/{id} in test_it.py::test_counts[101]"
COLUMNS = {"cache down", "cache reset #1", "cache reset #2"}


def test_a_healthy_app(cache: str, tmp_path: Path) -> None:
    code, report, out = judged(tmp_path, cache, "")
    assert code == 0, out
    cells = {(cell["route"], cell["perturbation"]): cell["colour"] for cell in report["cells"]}
    assert {name for _, name in cells} == COLUMNS
    assert set(cells.values()) == {"green"}
    assert {route for route, _ in cells} == {ROUTE}
    assert "5 of 5 tests ran: 2 perturbed, 2 ask no backend in a request, 1 left out" in out
    assert "1 request saved" in out
    assert "test_it.py::test_broken: left out: call: AssertionError" in out
    # The journal alone has the same verdict.
    journal = judge(read(tmp_path / "seism-report" / "journal.jsonl"))
    assert journal.colour == GREEN


def test_an_exception_that_leaves_the_app_is_red(cache: str, tmp_path: Path) -> None:
    code, report, out = judged(tmp_path, cache, "500")
    assert code == 1, out
    cells = {cell["perturbation"]: cell for cell in report["cells"]}
    assert {cells[name]["colour"] for name in COLUMNS} == {"red"}
    assert cells["cache down"]["reasons"][0].startswith("500")


def test_an_app_that_does_not_recover_is_red(cache: str, tmp_path: Path) -> None:
    code, report, out = judged(tmp_path, cache, "sticky")
    assert code == 1, out
    cells = {cell["perturbation"]: cell for cell in report["cells"]}
    # Each perturbation is tried on a worker that is well.
    for name in COLUMNS:
        assert any(each.startswith("not recovered within 1 s") for each in cells[name]["reasons"])


def refused(folder: Path, file: str, tests: str = "") -> str:
    """The line on standard error."""
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "test_it.py").write_text(tests, encoding="utf-8")
    if file:
        (folder / "seism.toml").write_text(file, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--seism"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 4, done.stdout + done.stderr
    return done.stderr.strip()


BACKEND = '[[backend]]\nname = "{}"\nupstream = "{}"\n'


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("", "seism.toml: not found (declare each backend"),
        ("seed = 1\n", "seism.toml: no backend (declare each as [[backend]])"),
        (BACKEND.format("db-prod", "127.0.0.1:5432"), "--seism-allow db-prod"),
        (BACKEND.format("db", "127.0.0.1:1"), "nothing answers at 127.0.0.1:1"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_in_one_line(
    tmp_path: Path, file: str, said: str
) -> None:
    line = refused(tmp_path, file)
    assert said in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("def test_x(): pass\n", "no test that passes makes a request that asks cache"),
        ("def test_x(): assert 0\n", "test_it.py::test_x: call: assert 0"),
        ("import nothing_of_that_name\n", "pytest: ended with exit code 2 before the tests: "),
    ],
)
def test_tests_that_are_of_no_use_are_refused_in_one_line(
    cache: str, tmp_path: Path, tests: str, said: str
) -> None:
    line = refused(tmp_path, BACKEND.format("cache", cache), tests)
    assert said in line
    assert len(line.splitlines()) == 1


def test_a_worker_gets_pytests_own_arguments() -> None:
    given = ["-x", "--seism", "a.toml", "--seism-budget=9", "tests", "-k", "not slow"]
    given += ["--seism-allow", "x", "--seism-allow=y", "--seism-report-dir", "z"]
    assert without_own(given) == ["-x", "tests", "-k", "not slow"]
    assert without_own(["--seism", "tests/test_x.py", "-q"]) == ["-q", "tests/test_x.py"]
    assert without_own(["-q", "--seism"]) == ["-q"]
