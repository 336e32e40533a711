"""The documented metrics, through a real StatsD into a real Graphite."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sys
from collections.abc import Iterator

import pytest

from seism_middleware.metrics import METRICS
from tests.graphite import Graphite, graphite
from tests.processes import ROOT, app, sidecar, until
from tests.servers import Valkey

REQUESTS = {"200": 30, "204": 1, "302": 2, "404": 3, "500": 4, "503": 5}
PERTURBED = 6
DASHBOARD = ROOT / "templates" / "grafana" / "dashboard.json"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graphite]:
    with graphite(tmp_path_factory.mktemp("chain"), tmp_path_factory) as running:
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


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, chain: Graphite) -> Graphite:
    """Graphite, when all that the app had to say of these requests has arrived."""
    tmp_path = tmp_path_factory.mktemp("app")
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
    assert chain.bad_lines() == bad
    return chain


@pytest.mark.timeout(240)
def test_every_count_arrives(sent: Graphite) -> None:
    series = sent.series()
    ours = {name for name in series if ".shop." in name}
    for metric in METRICS:
        pattern = re.escape(metric.name).replace("<class>", "([2-5]xx|none)")
        pattern = re.sub(r"<[a-z]+>", "[a-z0-9_]+", pattern)
        of_it = re.compile(rf"stats\.{metric.type}s\.shop\.web\.{pattern}(\.[a-z0-9_]+)?$")
        mine = {name for name in ours if of_it.match(name)}
        assert mine, metric.name
        ours -= mine
    assert ours == set()  # nothing is sent that is not declared
    assert sum(series["stats.timers.shop.web.response.5xx.count"]) == 9
    assert series["stats.gauges.shop.web.rss"][-1] > 1_000_000


def targets() -> list[str]:
    """Every one of the dashboard, for the prefix of this module."""
    values = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = [one["target"] for panel in values["panels"] for one in panel["targets"]]
    found += [one["target"] for one in values["annotations"]["list"]]
    return [target.replace("$prefix", "shop.web") for target in found]


@pytest.mark.debian("libcairo2")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="graphite-web 1.1.10 needs distutils")
@pytest.mark.timeout(240)
def test_the_dashboard_draws(sent: Graphite) -> None:
    """Each target of it has lines, whose values are those that were sent."""
    asked = targets()
    lines = sent.render(*asked, "stats.counters.shop.web.requests.nothing.count")
    assert lines.popitem()[1] == {}
    for target in asked:
        assert lines[target], target
        assert all(lines[target].values()), target
    merged = {name: values for one in lines.values() for name, values in one.items()}
    assert {"2xx", "5xx", "failed", "of it 503", "in flight", "cpu"} <= set(merged)
    assert sum(merged["my_cache_1.latency"]) == PERTURBED
    assert merged["rss"][-1] == sent.series()["stats.gauges.shop.web.rss"][-1]


def test_the_dashboard_shows_what_is_declared() -> None:
    """Each metric is in it, and nothing that is not sent."""
    drawn = re.findall(r"stats\.[a-z]+\.shop\.web\.(?:[\w.*]|\{[^}]*\})+", " ".join(targets()))
    known: set[str] = set()
    for metric in METRICS:
        name = re.sub(
            "<[a-z]+>", "(\\*|[{][a-z0-9,]+[}]|[a-z0-9]+)", metric.name.replace(".", r"\.")
        )
        of_it = re.compile(rf"stats\.{metric.type}s\.shop\.web\.{name}(\.[a-z0-9_]+)?")
        mine = {path for path in drawn if of_it.fullmatch(path)}
        assert mine, metric.name
        known |= mine
    assert set(drawn) == known


def test_a_bad_line_would_be_seen(chain: Graphite) -> None:
    host, _, port = chain.statsd.rpartition(":")
    before = chain.bad_lines()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"no metric|", (host, int(port)))
    until(lambda: chain.bad_lines() == before + 1)
