"""``pytest --seism`` with each test client, on suites with routes that survive and that do not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import PostgreSQL
from tests.processes import ROOT
from tests.servers import Valkey

SUITES = Path(__file__).parent / "suites"
TRIED = """
[rules]
error_log = false
recover_s = 1
[[backend]]
name = "{name}"
upstream = "{address}"
protocol = "{protocol}"
[[sweep.toxic]]
name = "down"
type = "down"
[[sweep.toxic]]
name = "reply lost"
type = "reset_peer"
stream = "downstream"
"""


@pytest.fixture(scope="module")
def cache() -> Iterator[str]:
    with Valkey() as running:
        yield f"127.0.0.1:{running.port}"


def colours(
    folder: Path, suite: str, name: str, protocol: str, address: str
) -> dict[str, set[str]]:
    """Path -> the colours of its requests."""
    shutil.copy(SUITES / f"{suite}.py", folder / f"test_{suite}.py")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -n 2 --randomly-seed=3\n")
    (folder / "seism.toml").write_text(
        TRIED.format(name=name, protocol=protocol, address=address), encoding="utf-8"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "BACKEND": address}
    if suite == "django_suite":
        # An address in the text of a settings file, for a driver in C.
        text = (SUITES / "django_settings.py").read_text(encoding="utf-8")
        text = text.replace('os.environ["BACKEND"]', repr(address))
        (folder / "settings_of_suite.py").write_text(text, encoding="utf-8")
        environ["DJANGO_SETTINGS_MODULE"] = "settings_of_suite"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--seism", f"test_{suite}.py"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    report = json.loads((folder / "seism-report" / "report.json").read_text(encoding="utf-8"))
    found = defaultdict(set)
    for cell in report["cells"]:
        found[cell["route"].partition(" in ")[0].partition(" ")[2]].add(cell["colour"])
    assert report["harms"] == [], done.stdout
    assert report["findings"] == [], done.stdout
    return dict(found)


def test_starlette_and_httpx_over_asgi(cache: str, tmp_path: Path) -> None:
    found = colours(tmp_path, "starlette_suite", "cache", "redis", cache)
    assert found == {"/well": {"green"}, "/ill": {"red"}, "/ill/async": {"red"}}


def test_webtest(cache: str, tmp_path: Path) -> None:
    found = colours(tmp_path, "webtest_suite", "cache", "redis", cache)
    assert found == {"/well": {"green"}, "/ill": {"red"}}


def test_requests_to_a_live_server(cache: str, tmp_path: Path) -> None:
    found = colours(tmp_path, "requests_suite", "cache", "redis", cache)
    assert found == {"/well": {"green"}, "/ill": {"red"}}


def test_django_whose_transactions_are_rolled_back(tmp_path: Path) -> None:
    with PostgreSQL() as running:
        address = f"127.0.0.1:{running.port}"
        found = colours(tmp_path, "django_suite", "db", "postgresql", address)
    assert found == {"/well": {"green"}, "/ill": {"red"}, "/make": {"red"}}
