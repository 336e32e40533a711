"""The documented metrics, through a real StatsD into a real Graphite."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from seism_middleware.metrics import METRICS
from tests.graphite import Graphite, graphite
from tests.processes import app, sidecar, until
from tests.servers import Valkey

REQUESTS = {"200": 30, "204": 1, "302": 2, "404": 3, "500": 4, "503": 5}
PERTURBED = 6


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graphite]:
    with graphite(tmp_path_factory.mktemp("graphite")) as running:
        yield running


def ask(port: int, path: str) -> int:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("GET", path)
    response = client.getresponse()
    response.read()
    client.close()
    return response.status


def total(series: dict[str, list[float]], counter: str) -> float:
    """Of a counter, over all flushes."""
    return sum(series.get(f"stats.counters.shop.web.{counter}.count", []))


@pytest.mark.timeout(240)
def test_every_count_arrives(tmp_path: Path, chain: Graphite) -> None:
    bad = chain.bad_lines()
    with (
        Valkey() as valkey,
        sidecar(tmp_path / "journal.jsonl") as control,
    ):
        made = {"name": "My Cache.1", "listen": "127.0.0.1:0"}
        proxy = control.call("POST", "/proxies", {**made, "upstream": f"127.0.0.1:{valkey.port}"})
        cache = {"CACHE": proxy["listen"], "STATSD": chain.statsd}
        module = "tests.seism_middleware.statsd_app"
        with app("wsgi", module, control, **cache) as (port, _):
            for path, count in REQUESTS.items():
                for _ in range(count):
                    assert ask(port, f"/{path}") == int(path)
            slow = {"type": "latency", "stream": "upstream", "attributes": {"latency": 5}}
            control.add_toxic("My Cache.1", slow)
            for _ in range(PERTURBED):
                assert ask(port, "/cache") == 200
            expected = {
                "requests.2xx": 31 + PERTURBED, "requests.3xx": 2, "requests.4xx": 3,
                "requests.5xx": 9, "requests.503": 5,
                "perturbations.my_cache_1.latency": PERTURBED,
            }  # fmt: skip
            until(lambda: {name: total(chain.series(), name) for name in expected} == expected, 60)
    series = chain.series()
    ours = {name for name in series if ".shop." in name}
    for metric in METRICS:
        kind = {"counter": "counters", "timer": "timers", "gauge": "gauges"}[metric.type]
        pattern = re.escape(metric.name).replace("<class>", "([2-5]xx|none)")
        pattern = re.sub(r"<[a-z]+>", "[a-z0-9_]+", pattern)
        of_it = re.compile(rf"stats\.{kind}\.shop\.web\.{pattern}(\.[a-z0-9_]+)?$")
        mine = {name for name in ours if of_it.match(name)}
        assert mine, metric.name
        ours -= mine
    assert ours == set()  # nothing is sent that is not declared
    assert sum(series["stats.timers.shop.web.response.5xx.count"]) == 9
    assert series["stats.gauges.shop.web.rss"][-1] > 1_000_000
    assert chain.bad_lines() == bad


def test_a_bad_line_would_be_seen(chain: Graphite) -> None:
    host, _, port = chain.statsd.rpartition(":")
    before = chain.bad_lines()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"no metric|", (host, int(port)))
    until(lambda: chain.bad_lines() == before + 1)
