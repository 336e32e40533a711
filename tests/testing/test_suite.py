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

from seism.pytest_plugin import without_own
from seism.testing.clients import Seen
from seism.testing.probe import Attempt
from seism.testing.suite import verdict
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED
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


@pytest.fixture(scope="module")
def cache() -> Iterator[str]:
    with Valkey() as running:
        yield f"127.0.0.1:{running.port}"


def judged(folder: Path, cache: str, sick: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, report and output of the suite."""
    (folder / "test_it.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "seism.toml").write_text(
        f'[[backend]]\nname = "cache"\nupstream = "{cache}"\nprotocol = "redis"\n', encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--seism", "--seism-budget=200", "test_it.py"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "CACHE": cache, "SICK": sick},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    report = folder / "seism-report" / "report.json"
    assert report.exists(), done.stdout + done.stderr
    assert (folder / "seism-report" / "junit.xml").exists()
    return done.returncode, json.loads(report.read_text(encoding="utf-8")), done.stdout


FIRST = "test_it.py::test_counts[101]"


def test_a_healthy_app(cache: str, tmp_path: Path) -> None:
    code, report, out = judged(tmp_path, cache, "")
    assert code == 0, out
    cells = {(cell["route"], cell["perturbation"]): cell["colour"] for cell in report["cells"]}
    assert {route for route, _ in cells} == {FIRST}
    assert set(cells.values()) == {"green"}
    assert {"cache down", "cache reset #1", "cache reset #2"} <= {name for _, name in cells}
    assert "not tried: 1 test, which makes the same requests as others" in out
    assert "test_it.py::test_broken: it fails unperturbed" in out


def test_an_exception_that_leaves_the_app_is_red(cache: str, tmp_path: Path) -> None:
    code, report, out = judged(tmp_path, cache, "500")
    assert code == 1, out
    cells = {cell["perturbation"]: cell for cell in report["cells"]}
    assert cells["cache down"]["colour"] == cells["cache reset #2"]["colour"] == "red"
    assert cells["cache down"]["reasons"] == ["GET /count/{id}: 500 instead of 200"]


def test_an_app_that_does_not_recover_is_red(cache: str, tmp_path: Path) -> None:
    code, report, out = judged(tmp_path, cache, "sticky")
    assert code == 1, out
    cells = {cell["perturbation"]: cell for cell in report["cells"]}
    # Each perturbation is tried on a worker that is well.
    for name in ("cache down", "cache reset #1", "cache reset #2"):
        assert cells[name]["reasons"] == ["not recovered: GET /count/{id}: 500 instead of 200"]


def seen(status: int, digest: str = "a", exception: str = "") -> Seen:
    return Seen("GET", "/x", status, exception, 0.1, digest)


@pytest.mark.parametrize(
    ("during", "after", "colour"),
    [
        (seen(200), seen(200), GREEN),
        (seen(503), seen(200), GREEN),
        (seen(500), seen(200), RED),
        (seen(0, exception="OSError"), seen(200), RED),
        (seen(404), seen(200), RED),
        (seen(302), seen(200), RED),
        (seen(200, "b"), seen(200), AMBER),
        (seen(503), seen(500), RED),
    ],
)
def test_what_is_judged(during: Seen, after: Seen, colour: str) -> None:
    attempt = Attempt("t", 1, [seen(200)], [during], [after], True)
    assert verdict(attempt)[0] == colour


def test_a_test_without_requests_is_not_covered() -> None:
    assert verdict(Attempt("t", 1, [seen(200)], [], [seen(200)], True))[0] == NOT_COVERED


def test_a_worker_gets_pytests_own_arguments() -> None:
    given = ["-x", "--seism", "a.toml", "--seism-budget=9", "tests", "-k", "not slow"]
    assert without_own(given) == ["-x", "tests", "-k", "not slow"]
