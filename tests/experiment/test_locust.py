"""A real Locust as the load: alone, with processes of its own, with a worker from elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from seism.errors import ConfigurationError
from seism.experiment.config import Experiment
from seism.experiment.locust import read
from seism.options import build
from tests.ports import free_port
from tests.processes import ROOT, process, until
from tests.test_cli import Seism, cache, seism

__all__ = ["cache", "seism"]

pytestmark = pytest.mark.timeout(240)

FILE = ROOT / "tests" / "experiment" / "locustfile.py"
LOCUST = f"""
[load.locust]
file = "{FILE}"
users = 4
spawn_rate = 20
steady = 2
during = 1.5
after = 1.5
again = 1.5
"""
ROUTES = "[load]\nworkers = 4\nsteady = 10\nduring = 5\nafter = 8\npause_ms = 5\n"
SCHEDULED = """
[[perturbation]]
name = "slow"
backend = "cache"
type = "latency"
attributes = { latency = 50 }
at = 0.5
lasting = 1
unit = "seconds"
"""


def driven(seism: Seism, options: str = "", more: str = "") -> None:
    seism.experiment(more=more, **{ROUTES: LOCUST + options})


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "seism-report" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def judged(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "seism-report" / "report.json").read_text())
    return found


def check_totals(folder: Path, *, ids: bool = True) -> None:
    """Locust's own count is what the app saw; with ``ids``, its clients tell of each request."""
    (load,) = [each for each in records(folder) if each["kind"] == "load"]
    assert load["whole"]
    assert set(load["routes"]) == {"GET /", "GET /weak"}
    observed = sum(each["kind"] == "request.ended" for each in records(folder))
    assert 0 < load["requests"] <= observed
    assert load["routes"]["GET /weak"]["statuses"]["failed"] > 0
    assert all(figures["no_response"] == 0 for figures in load["routes"].values())
    assert judged(folder)["dropped"] == 0
    clients = [each for each in records(folder) if each["kind"] == "client"]
    assert len(clients) == (load["requests"] if ids else 0)
    seen = {each.get("client") for each in records(folder) if each["kind"] == "request.ended"}
    assert {each["request"] for each in clients} <= seen
    assert {each["outcome"] for each in clients} <= {"complete"}
    assert {each["route"] for each in clients} <= {"GET /", "GET /weak"}


def test_it_drives_phases_and_a_mixed_load(seism: Seism, tmp_path: Path) -> None:
    driven(seism, more=SCHEDULED)
    done = seism.run("run")
    assert done.code == 1, done.err + done.out
    matrix = judged(tmp_path)["matrix"]
    assert matrix["GET /weak"] == {"cache reset": "red", "slow": "green"}
    assert matrix["GET /"] == {"cache reset": "green", "slow": "green"}
    check_totals(tmp_path)


def test_with_two_processes(seism: Seism, tmp_path: Path) -> None:
    driven(seism, "processes = 2\n")
    done = seism.run("run")
    assert done.code == 1, done.err + done.out
    assert judged(tmp_path)["matrix"]["GET /weak"] == {"cache reset": "red"}
    check_totals(tmp_path)


def test_a_worker_from_elsewhere(seism: Seism, tmp_path: Path) -> None:
    port = free_port()
    driven(seism, f'workers = 1\nlisten = "127.0.0.1:{port}"\n')
    running = seism.start("run")
    argv = (sys.executable, "-m", "locust", "-f", str(FILE), "--worker")
    with (tmp_path / "worker.log").open("wb") as log:
        with process(*argv, "--master-port", str(port), stderr=log, stdout=log) as worker:
            done = seism.finish(running)
            assert done.code == 1, done.err + done.out
            worker.wait(30)  # the master has told it to go
    assert judged(tmp_path)["matrix"]["GET /weak"] == {"cache reset": "red"}
    check_totals(tmp_path, ids=False)


def test_nothing_is_left_when_the_runner_is_killed(seism: Seism, tmp_path: Path) -> None:
    driven(seism, "processes = 2\n")
    running = seism.start("run")
    journal = tmp_path / "seism-report" / "journal.jsonl"
    until(lambda: journal.exists() and b'"phase":"during"' in journal.read_bytes())
    words = [" ".join(each.cmdline()) for each in seism.left() if each.is_running()]
    assert sum("-m locust" in each and "guard.py" not in each for each in words) == 3
    running.kill()
    running.communicate(timeout=30)
    until(lambda: not seism.left())


def test_what_it_cannot_start_is_one_line(seism: Seism, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("no = such + thing\n")
    driven(seism)
    file = tmp_path / "seism.toml"
    file.write_text(file.read_text().replace(str(FILE), "broken.py"))
    done = seism.run("run")
    assert done.code != 0
    assert "Locust ended with exit code" in done.line()


def test_a_sweep_needs_routes(seism: Seism) -> None:
    driven(seism)
    done = seism.run("sweep")
    assert done.code == 2
    assert done.line().endswith("a sweep sends its own requests: [[load.route]] is needed")


@pytest.mark.parametrize(
    ("load", "more", "said"),
    [
        ({}, {}, "expected a .*load.route.*, or else .load.locust."),
        ({"route": [{"path": "/"}], "locust": {"file": "x"}}, {}, "or else .load.locust."),
        ({"locust": {"file": "x", "processes": 2, "workers": 1}}, {}, "processes or workers"),
        ({"locust": {"file": "x"}}, {"random": {}}, "with Locust the mixed load is in seconds"),
        (
            {"locust": {"file": "x"}},
            {"perturbation": [{"name": "a", "backend": "b", "type": "down", "route": "GET /"}]},
            "no .*load.route.* 'GET /'",
        ),
    ],
)
def test_what_cannot_be(load: dict[str, Any], more: dict[str, Any], said: str) -> None:
    backend = [{"name": "b", "upstream": "127.0.0.1:1"}]
    with pytest.raises(ConfigurationError, match=said):
        build(Experiment, {"backend": backend, "load": load, **more}, "file")


def test_what_has_no_reason_had_no_response(tmp_path: Path) -> None:
    row = {"method": "GET", "name": "/", "num_requests": 9, "num_failures": 5,
           "max_response_time": 1500.0}  # fmt: skip
    (tmp_path / "locust.json").write_text(json.dumps([row]))
    (tmp_path / "locust_failures.csv").write_text(
        "Method,Name,Error,Occurrences\n"
        "GET,/,HTTPError('500 Server Error'),2\nGET,/,RemoteDisconnected('closed'),1\n"
    )
    assert read(tmp_path)["routes"]["GET /"] == {
        "count": 9, "statuses": {"failed": 2}, "no_response": 3, "truncated": 0, "max": 1.5,
    }  # fmt: skip
