"""Apps that are started while their backend is away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seism.errors import ConfigurationError
from seism.experiment.config import Experiment
from seism.options import build
from tests.test_cli import PERTURBATION, Seism, cache, seism

__all__ = ["cache", "seism"]

COLD = """\
[rules]
recover_s = 2
error_log = false
"""
PLANNED = """\
[[perturbation]]
name = "cache cold start"
backend = "cache"
type = "down"
cold_start = true
lasting = 1
unit = "seconds"
"""
SWEPT = """\
[sweep]
repeat = 1
pairs = 0
[[sweep.toxic]]
name = "cold start"
type = "down"
cold_start = true
"""


def report_of(seism: Seism, folder: Path, how: str, command: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of ``command`` on the app that starts as ``how`` says."""
    changes = {
        "small_app": "cold_app",
        "/idle": "/",
        "env = {": f'env = {{ COLD = "{how}",',
        PERTURBATION: PLANNED if command == "run" else "",
    }
    seism.experiment("/", more=COLD + (SWEPT if command == "sweep" else ""), **changes)
    done = seism.run(command)
    report = folder / "seism-report" / "report.json"
    assert report.exists(), done.err + done.out
    return done.code, json.loads(report.read_text())


@pytest.mark.parametrize("how", ["serves", "waits"])
def test_an_app_that_waits_or_connects_later_is_green(
    seism: Seism, tmp_path: Path, how: str
) -> None:
    code, report = report_of(seism, tmp_path, how, "run")
    assert code == 0, report["cells"]
    assert report["matrix"] == {"GET /": {"cache cold start": "green"}}
    assert not report["harms"] and not report["never_fired"]


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_an_app_that_serves_and_never_connects_is_red(
    seism: Seism, tmp_path: Path, command: str
) -> None:
    code, report = report_of(seism, tmp_path, "never", command)
    assert code == 1
    assert report["matrix"] == {"GET /": {"cache cold start": "red"}}
    (cell,) = report["cells"]
    assert any("not recovered" in reason for reason in cell["reasons"])


def test_an_app_that_exits_is_amber_and_started_again(seism: Seism, tmp_path: Path) -> None:
    code, report = report_of(seism, tmp_path, "exits", "run")
    assert code == 0, report["cells"]
    (harm,) = report["harms"]
    assert (harm["kind"], harm["colour"]) == ("died", "amber")
    assert "as it was started while cache was away" in harm["what"]


@pytest.mark.parametrize(
    "more", [{"route": "GET /"}, {"at": 3, "lasting": 2}, {"backend": "front"}]
)
def test_it_is_of_the_whole_app_and_of_a_backend(more: dict[str, object]) -> None:
    planned = {"name": "p", "backend": "db", "type": "down", "cold_start": True, **more}
    file = {
        "backend": [{"name": "db", "upstream": "127.0.0.1:1"}],
        "front": {"app": "http://127.0.0.1:1"},
        "load": {"route": [{"path": "/"}]},
        "perturbation": [planned],
    }
    with pytest.raises(ConfigurationError, match=r"cold_start cannot have a route, at"):
        build(Experiment, file, "file")
