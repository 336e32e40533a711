"""A real Node server without any middleware, on a real Valkey, through the whole experiment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seism.journal import read
from seism_middleware.contract import Attribution, Hello, PerturbationBegan, RequestEnded
from tests import npm
from tests.processes import ROOT
from tests.servers import Valkey

APP = Path(__file__).parent / "app.js"
EXPERIMENT = """
seed = 5

[app]
command = ["node", "{app}", "{{port}}"]
url = "http://127.0.0.1:{{port}}"
env = {{ CACHE = "redis://{{cache.address}}", NODE_PATH = "{modules}", WEAK = "{weak}" }}

[front]

[[backend]]
name = "cache"
upstream = "127.0.0.1:{port}"

[load]
workers = 4
steady = 10
during = 10
after = 10
pause_ms = 5
timeout_s = 5
route = [
  {{ path = "/items/7", weight = 2 }},
  {{ path = "/orders", method = "POST", action = {{ count = "/done/{{key}}", retries = 4 }} }},
]

[[perturbation]]
name = "cache down"
backend = "cache"
type = "down"

[[perturbation]]
name = "half a response"
backend = "front"
type = "limit_data"
stream = "downstream"
attributes = {{ bytes = 100 }}

[[perturbation]]
name = "an answer is lost"
backend = "front"
type = "exchange_reset"
toxicity = 0.5
attributes = {{ when = "served" }}

[[perturbation]]
name = "stalled"
backend = "front"
type = "latency"
stream = "downstream"
attributes = {{ latency = 50 }}

[rules]
recover_s = 10
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm.install(tmp_path_factory.mktemp("npm"), "ioredis@5.4.1")


@pytest.fixture(scope="module")
def cache() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


def run(folder: Path, modules: Path, cache: Valkey, *, weak: bool) -> tuple[int, dict[str, Any]]:
    file = folder / "seism.toml"
    file.write_text(
        EXPERIMENT.format(app=APP, modules=modules, port=cache.port, weak="1" if weak else "")
    )
    done = subprocess.run(
        [sys.executable, "-m", "seism", "run", str(file), "--report-dir", str(folder), "--quiet"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert (folder / "report.json").exists(), done.stdout + done.stderr
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return done.returncode, report


def colours(report: dict[str, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for cell in report["cells"]:
        found.setdefault(cell["perturbation"], set()).add(cell["colour"])
    return found


def test_a_healthy_app_is_green(tmp_path: Path, modules: Path, cache: Valkey) -> None:
    code, report = run(tmp_path, modules, cache, weak=False)
    assert report["findings"] == []
    assert colours(report) == {step["name"]: {"green"} for step in report["plan"]}
    assert len(report["plan"]) == 4
    assert code == 0
    records = [entry.record for entry in read(tmp_path / "journal.jsonl")]
    (hello,) = [record for record in records if isinstance(record, Hello)]
    assert (hello.worker, hello.interface) == ("front", "http")
    proxies = {r.perturbation: r.proxy for r in records if isinstance(r, PerturbationBegan)}
    attributions = [record for record in records if isinstance(record, Attribution)]
    kinds = Counter(
        (proxies[attribution.perturbation], attribution.evidence, attribution.exact)
        for attribution in attributions
    )
    # A backend without a token in it is never attributed exactly.
    assert {key for key in kinds if key[0] == "cache"} == {("cache", "overlap", False)}
    assert {key for key in kinds if key[0] == "front"} == {("front", "ledger", True)}
    ended = [record for record in records if isinstance(record, RequestEnded)]
    assert {record.route for record in ended} == {"/items/{id}", "/orders"}
    assert {record.status for record in ended} >= {200, 201, 503}


def test_planted_weaknesses_are_found(tmp_path: Path, modules: Path, cache: Valkey) -> None:
    code, report = run(tmp_path, modules, cache, weak=True)
    assert code == 1
    found = colours(report)
    assert found["cache down"] == {"red"}
    # Nobody sees it but who counts: the order was done twice.
    lost = {route: cells["half a response"] for route, cells in report["matrix"].items()}
    assert lost.pop("POST /orders") == "red"
    assert set(lost.values()) == {"green"}
    # Whatever was asked again was done again; the load has told how often.
    assert {finding.partition(":")[0] for finding in report["findings"]} == {
        "half a response", "an answer is lost"
    }  # fmt: skip
    for finding in report["findings"]:
        assert finding.endswith("actions POST /orders were done more than once")
