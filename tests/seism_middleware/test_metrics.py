from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism_middleware import signals
from seism_middleware.contract import PerturbationBegan, RequestEnded
from seism_middleware.metrics import Metrics, sanitise, status_class
from seism_middleware.wsgi import SeismWSGI
from tests.seism_middleware.peer import Peer, eventually
from tests.seism_middleware.test_wsgi import call, sized


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


def test_names_through_a_real_app(peer: Peer, server: socket.socket) -> None:
    port = server.getsockname()[1]
    app = sized(b"no", "503 No")
    call(SeismWSGI(app, peer.address, statsd=f"127.0.0.1:{port}", statsd_prefix="My Shop.Web"))
    lines = server.recv(4096).decode().splitlines()
    names = [line.partition(":")[0] for line in lines]
    assert names == [
        f"my_shop.web.{name}"
        for name in ("requests.5xx", "requests.503", "response.5xx", "in_flight", "rss", "cpu")
    ]
    assert [line.rpartition("|")[2] for line in lines] == ["c", "c", "ms", "g", "g", "g"]
    peer.wait(RequestEnded)
    peer.tell(PerturbationBegan("p", "Cache é.1", "t", "latency", time.monotonic()))
    assert server.recv(4096) == b"my_shop.web.perturbations.cache_1.latency:1|c"


def test_a_host_that_does_not_resolve_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics("no.such.host.invalid", 8125, "p", lambda: 0, lambda: 0.0)
    sender = object()
    metrics.subscribe(sender)
    record = RequestEnded("r", "GET", "/", 0.0, 0.1, 200, "complete")
    for _ in range(3):
        signals.send("request_ended", sender, record)
    assert len(caplog.records) == 1 and "no metrics are sent" in caplog.text


@given(st.text())
def test_sanitised_names_are_one_component(name: str) -> None:
    clean = sanitise(name)
    assert clean and set(clean) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    assert sanitise(clean) == clean


def test_status_classes() -> None:
    assert [status_class(s) for s in (204, 302, 404, 503, None)] == [
        "2xx", "3xx", "4xx", "5xx", "none"
    ]  # fmt: skip


def test_a_failing_receiver_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    got: list[Any] = []

    def bad(sender: Any, record: Any) -> None:
        raise RuntimeError

    def good(sender: Any, record: Any) -> None:
        got.append((sender, record))

    receivers: list[Callable[..., None]] = [bad, good]
    for receiver in receivers:
        signals.perturbation_ended.connect(receiver)
    try:
        signals.send("perturbation_ended", "w", 1)
    finally:
        for receiver in receivers:
            signals.perturbation_ended.disconnect(receiver)
    signals.send("perturbation_ended", "w", 2)
    assert got == [("w", 1)]
    assert "failed" in caplog.text
    with pytest.raises(AttributeError):
        _ = signals.nothing


def test_eventually_fails() -> None:
    assert eventually(lambda: 1, "at once") == 1
