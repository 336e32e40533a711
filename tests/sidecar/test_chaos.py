"""Standing chaos: a sidecar that perturbs real traffic by itself, and judges what it did."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.client import Control
from seism.errors import ConfigurationError
from seism.experiment.config import Chaos, Experiment
from seism.options import build
from tests.graphite import graphite
from tests.processes import app, sidecar, until
from tests.servers import Valkey
from tests.sidecar.control.sse import Reader

FILE = """
[[backend]]
name = "cache"
upstream = "{cache}"
[chaos]
per_hour = 36000
seconds = 0.4
budget_percent = {budget}
statsd = "{statsd}"
statsd_prefix = "stage.chaos"
[[chaos.mix]]
name = "reset"
backend = "cache"
type = "reset_peer"
[[chaos.mix]]
name = "away"
backend = "cache"
type = "down"
"""


class Standing:
    """A sidecar with chaos, an app behind it, and somebody who asks for a page all the time."""

    def __init__(
        self, folder: Path, stack: ExitStack, path: str, budget: float, statsd: str = ""
    ) -> None:
        valkey = stack.enter_context(Valkey())
        file = folder / "seism.toml"
        file.write_text(FILE.format(cache=f"127.0.0.1:{valkey.port}", budget=budget, statsd=statsd))
        self.journal = folder / "journal.jsonl"
        options = ("--config", str(file), "--seed", "3")
        self.control = stack.enter_context(sidecar(self.journal, *options))
        listen = self.control.proxies()["cache"]["listen"]
        module = "tests.experiment.small_app"
        port, _ = stack.enter_context(app("wsgi", module, self.control, CACHE=listen))
        self._url = f"http://127.0.0.1:{port}{path}"
        self._stop = threading.Event()
        thread = threading.Thread(target=self._ask, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._stop.set)

    def _ask(self) -> None:
        while not self._stop.wait(0.01):
            try:
                urllib.request.urlopen(self._url, timeout=5).close()
            except urllib.error.HTTPError as error:
                error.close()

    def records(self, kind: str) -> list[dict[str, Any]]:
        lines = self.journal.read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["kind"] == kind]

    def shown(self) -> dict[str, Any]:
        answered: dict[str, Any] = self.control.call("GET", "/seism/chaos")
        return answered


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def idle(control: Control) -> bool:
    cache = control.proxies()["cache"]
    return cache["enabled"] and cache["toxics"] == []


def test_it_perturbs_judges_and_can_be_stopped(tmp_path: Path, stack: ExitStack) -> None:
    standing = Standing(tmp_path, stack, "/weak", budget=100)
    until(lambda: {each["name"] for each in standing.records("chaos.judged")} == {"reset", "away"})
    until(lambda: "red" in standing.shown()["judged"])
    red = next(each for each in standing.records("chaos.judged") if each["colour"] == "red")
    assert red["hit"] > 0
    assert "GET /weak: 500 (redis.exceptions." in red["reasons"][0]
    log = standing.journal.with_suffix(".log").read_text()
    assert f"chaos: {red['name']} was red" in log
    stopped = standing.control.call("DELETE", "/seism/chaos")
    assert (stopped["running"], stopped["stopped"]) == (False, "asked to")
    assert idle(standing.control)
    began = len(standing.records("perturbation.began"))
    assert standing.control.call("DELETE", "/seism/chaos")["active"] == []
    until(lambda: len(standing.records("chaos.stopped")) == 1)
    assert len(standing.records("perturbation.began")) == began


def test_the_verdicts_reach_a_real_statsd(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, stack: ExitStack
) -> None:
    graphs = stack.enter_context(graphite(tmp_path, tmp_path_factory))
    standing = Standing(tmp_path, stack, "/weak", budget=100, statsd=graphs.statsd)
    below = "stats.counters.stage.chaos.chaos"
    wanted = {
        f"{below}.{name}.count"
        for name in ("began.reset", "began.away", "judged.reset.red", "hit.reset")
    }
    until(lambda: wanted <= graphs.series().keys(), seconds=60)
    standing.control.call("DELETE", "/seism/chaos")
    until(lambda: f"{below}.stopped.count" in graphs.series())
    assert graphs.series()[f"{below}.stopped.count"] == [1]
    sent = {part for name in graphs.series() if name.startswith(below)
            for part in name.removeprefix(below).split(".")}  # fmt: skip
    assert sent <= {"", "began", "judged", "hit", "stopped", "reset", "away", "count", "rate",
                    *("green", "amber", "red", "not_covered")}  # fmt: skip
    assert graphs.bad_lines() == 0


def test_what_it_does_is_in_the_event_stream(tmp_path: Path, stack: ExitStack) -> None:
    standing = Standing(tmp_path, stack, "/weak", budget=100)
    address = (standing.control.host, standing.control.port)
    seen: dict[str, Any] = {}
    with Reader(address, "/seism/events?topics=chaos") as events:
        events.next_head()
        while "chaos.stopped" not in seen:
            event = events.next()
            seen[event.name] = event.data
            if event.name == "chaos.judged":
                standing.control.call("DELETE", "/seism/chaos")
    assert seen.keys() - {"hello"} == {"chaos.began", "chaos.judged", "chaos.stopped"}
    assert seen["chaos.judged"]["name"] in ("reset", "away")
    assert 0.2 <= seen["chaos.began"]["seconds"] <= 0.6


def test_an_app_that_behaves_is_not_red(tmp_path: Path, stack: ExitStack) -> None:
    standing = Standing(tmp_path, stack, "/", budget=100)
    until(lambda: standing.shown()["judged"].get("green", 0) >= 2)
    assert set(standing.shown()["judged"]) <= {"green", "not covered"}
    assert standing.shown()["skipped"] >= 0


def test_the_error_budget_stops_it(tmp_path: Path, stack: ExitStack) -> None:
    standing = Standing(tmp_path, stack, "/weak", budget=2)
    until(lambda: not standing.shown()["running"])
    assert "error budget: " in standing.shown()["stopped"]
    assert idle(standing.control)
    until(lambda: len(standing.records("chaos.stopped")) == 1)


def test_a_calm_sidecar_and_a_run_have_none(tmp_path: Path) -> None:
    file = tmp_path / "seism.toml"
    file.write_text(FILE.format(cache="127.0.0.1:1", budget=5, statsd=""))
    with sidecar(tmp_path / "journal.jsonl", "--config", str(file), "--calm") as control:
        paths = control.call("GET", "/seism/openapi.json")["paths"]
        assert "/seism/chaos" not in paths


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hours": [9]}, "hours: .9. is not allowed, it must be two"),
        ({"days": [8]}, "8 is not allowed, it must be 1 to 7"),
        ({"per_hour": 0}, "0 is not allowed"),
        ({"statsd": "nowhere"}, "statsd: "),
        ({"mix": [{"name": "a", "backend": "x", "type": "down"}]}, "there is no backend 'x'"),
        ({"mix": [{"name": "a", "backend": "b", "type": "dwn"}]}, "type: .*'dwn'"),
    ],
)
def test_what_is_wrong_is_said(values: dict[str, Any], said: str) -> None:
    backend = [{"name": "b", "upstream": "127.0.0.1:1"}]
    with pytest.raises(ConfigurationError, match=said):
        build(Experiment, {"backend": backend, "chaos": values}, "file")


@given(st.integers(0, 23), st.integers(0, 24), st.integers(0, 23), st.integers(0, 6))
def test_hours_and_days(begin: int, end: int, hour: int, day: int) -> None:
    allowed = set(range(begin, end)) or {*range(begin, 24), *range(end)}
    assert Chaos(hours=(begin, end)).open_at(day, hour) == (hour in allowed)
    assert Chaos().open_at(day, hour)
    assert Chaos(days=(1, 7)).open_at(day, hour) == (day in (0, 6))
