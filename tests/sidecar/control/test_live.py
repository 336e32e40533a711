"""``/seism/connections`` and ``/metrics`` of a real ``seism serve``, while connections live."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from seism.client import Control
from seism.errors import ConfigurationError, NotFound
from seism.model import address
from seism.sidecar.control.metrics import Metric, render
from tests.processes import sidecar, until
from tests.proxy.harness import PATIENCE, exchange, read_exactly, reset
from tests.sidecar.control.samples import samples, scrape


@dataclass
class Through:
    """A sidecar with one proxy, and connections through it."""

    control: Control
    listener: socket.socket
    ends: list[socket.socket]
    name: str = "backend"

    @property
    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = self.control.proxies()[self.name]
        return found

    def pair(self) -> tuple[socket.socket, socket.socket]:
        client = socket.create_connection(address(self.shown["listen"], ""), PATIENCE)
        server, _ = self.listener.accept()
        server.settimeout(PATIENCE)
        self.ends += [client, server]
        return client, server

    def connections(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.answer(query)["connections"]
        return found

    def answer(self, query: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self.control.call("GET", f"/seism/connections{query}")
        return found

    def bytes(self, what: str, direction: str) -> float:
        shown = self.shown
        labels = (
            f'direction="{direction}",listener="{shown["listen"]}",'
            f'proxy="{self.name}",upstream="{shown["upstream"]}"'
        )
        return samples(self.control)[f"toxiproxy_proxy_{what}_bytes_total{{{labels}}}"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with sidecar(tmp_path_factory.mktemp("live") / "journal.jsonl") as control:
        yield control


@pytest.fixture
def through(served: Control) -> Iterator[Through]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        upstream = "{}:{}".format(*listener.getsockname())
        served.call("POST", "/proxies", {"name": "backend", "upstream": upstream})
        found = Through(served, listener, [])
        yield found
        for end in found.ends:
            end.close()
        served.call("DELETE", "/proxies/backend")


def test_a_connection_is_shown_while_it_lives(through: Through) -> None:
    client, server = through.pair()
    (shown,) = through.connections()
    assert shown["proxy"] == "backend"
    assert shown["client"] == "{}:{}".format(*client.getsockname())
    assert shown["listen"] == through.shown["listen"]
    assert shown["source"] == "{}:{}".format(*server.getpeername())
    assert shown["upstream"] == shown["downstream"] == {"received": 0, "sent": 0}
    assert shown["toxics"] == []
    exchange(client, server, b"ping", b"pong!")
    (later,) = through.connections()
    assert later["number"] == shown["number"]
    assert later["upstream"] == {"received": 4, "sent": 4}
    assert later["downstream"] == {"received": 5, "sent": 5}
    assert later["age"] >= shown["age"] >= 0
    client.close()
    server.close()
    until(lambda: through.answer() == {"open": 0, "connections": []})


def test_toxics_in_force_are_shown_and_what_they_hold_is_not_sent(through: Through) -> None:
    client, server = through.pair()
    slow = {"type": "latency", "name": "slow", "attributes": {"latency": 3_600_000}}
    through.control.add_toxic("backend", slow)
    through.control.add_toxic("backend", {"type": "timeout", "name": "up", "stream": "upstream"})
    client.sendall(b"lost")
    server.sendall(b"held!")
    until(lambda: through.connections()[0]["downstream"] == {"received": 5, "sent": 0})
    until(lambda: through.connections()[0]["upstream"] == {"received": 4, "sent": 0})
    assert through.connections()[0]["toxics"] == ["up", "slow"]
    through.control.remove_toxic("backend", "slow")
    assert read_exactly(client, 5) == b"held!"
    assert through.connections()[0]["downstream"] == {"received": 5, "sent": 5}
    assert through.connections()[0]["toxics"] == ["up"]


def test_what_waits_for_the_receiver_is_not_sent(through: Through) -> None:
    client, server = through.pair()
    server.settimeout(0.1)
    with pytest.raises(TimeoutError):
        while True:
            server.send(bytes(65536))
    (shown,) = through.connections()
    assert shown["downstream"]["received"] > shown["downstream"]["sent"] > 0
    read_exactly(client, shown["downstream"]["received"])
    until(lambda: through.connections()[0]["downstream"]["sent"] >= shown["downstream"]["received"])


def test_limit_and_proxy(through: Through) -> None:
    for _ in range(3):
        through.pair()
    assert len(through.connections()) == 3
    answer = through.answer("?limit=2&proxy=backend")
    assert (answer["open"], len(answer["connections"])) == (3, 2)
    numbers = [shown["number"] for shown in through.connections()]
    assert numbers == sorted(numbers)
    with pytest.raises(NotFound):
        through.connections("?proxy=other")
    for wrong in ("limit=-1", "limit=x", "limit=99999999", "limitt=1"):
        with pytest.raises(ConfigurationError, match="limit"):
            through.connections(f"?{wrong}")


def test_counters_move_while_a_connection_lives_and_stay_when_it_ends(through: Through) -> None:
    client, server = through.pair()
    exchange(client, server, b"12345678", b"123")
    assert [through.bytes(what, "upstream") for what in ("received", "sent")] == [8, 8]
    assert [through.bytes(what, "downstream") for what in ("received", "sent")] == [3, 3]
    open_, total = 'seism_connections_open{proxy="backend"}', (
        'seism_connections_total{proxy="backend"}'
    )  # fmt: skip
    found = samples(through.control)
    assert (found[open_], found[total]) == (1, 1)
    reset(client)
    until(lambda: samples(through.control)[open_] == 0)
    through.pair()
    found = samples(through.control)
    assert (found[open_], found[total]) == (1, 2)
    assert [through.bytes("sent", way) for way in ("upstream", "downstream")] == [8, 3]


def test_perturbations_requests_and_refusals_are_counted(through: Through) -> None:
    control = through.control
    through.control.add_toxic("backend", {"type": "latency", "attributes": {"latency": 1}})
    before = samples(control)
    client, server = through.pair()
    exchange(client, server, b"ping", b"pong")
    perturbations = (
        'seism_perturbations_total{proxy="backend",toxic="latency_downstream",type="latency"}'
    )
    assert samples(control)[perturbations] == before.get(perturbations, 0) + 1
    with socket.create_connection((control.host, control.port), PATIENCE) as raw:
        raw.sendall(b"GET /version HTTP/1.0\r\nHost: evil.example\r\n\r\n")
        assert b" 403 " in raw.recv(1000)
    with pytest.raises(NotFound):
        control.call("GET", "/proxies/none")
    with pytest.raises(NotFound):
        control.call("GET", "/no/such/route")
    after = samples(control)
    for method, path, status, least in (
        ("GET", "/proxies/{proxy}", 404, 1), ("", "", 404, 1), ("", "", 403, 1),
        ("POST", "/proxies", 201, 1),
    ):  # fmt: skip
        labels = f'method="{method}",path="{path}",status="{status}"'
        assert after[f"seism_control_requests_total{{{labels}}}"] >= least
    assert after['seism_records_dropped_total{from="journal"}'] == 0


def test_connections_that_are_understood_no_more_are_counted_and_shown(through: Through) -> None:
    control = through.control
    control.call("PATCH", "/proxies/backend", {"protocol": "redis"})
    client, server = through.pair()
    client.sendall(b"MONITOR\r\n")
    assert server.recv(100) == b"MONITOR\r\n"
    name = 'seism_connections_opaque_total{proxy="backend",reason="MONITOR"}'
    until(lambda: samples(control).get(name) == 1)
    (shown,) = control.call("GET", "/seism/connections")["connections"]
    assert (shown["protocol"], shown["opaque"]) == ("redis", "MONITOR")
    assert through.shown["opaque"] == {"MONITOR": 1}


def test_the_text_is_prometheus_own(through: Through) -> None:
    content_type, text = scrape(through.control)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert text.endswith("\n")
    typed = dict(re.findall(r"^# TYPE (\S+) (counter|gauge)$", text, re.MULTILINE))
    helped = re.findall(r"^# HELP (\S+) .+$", text, re.MULTILINE)
    assert helped == list(typed)
    for name in samples(through.control):
        kind = typed[name.partition("{")[0]]
        assert (kind == "counter") == name.partition("{")[0].endswith("_total")


def test_labels_are_escaped() -> None:
    assert render([Metric("m", "gauge", "h", [({"l": 'a"b\\c\nd'}, 1)])]).splitlines()[2] == (
        r'm{l="a\"b\\c\nd"} 1'
    )
