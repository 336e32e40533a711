from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from seism_middleware import observer, signals
from seism_middleware.contract import (
    Attribution,
    Census,
    CensusAsked,
    Hello,
    PerturbationBegan,
    Proxied,
    Proxies,
    RequestBegun,
    RequestEnded,
)
from seism_middleware.tcp import address_text
from seism_middleware.vitals import Vitals
from seism_middleware.wsgi import SeismWSGI
from tests.seism_middleware.peer import Peer, eventually
from tests.seism_middleware.test_wsgi import call, sized


def test_the_whole_way_of_a_perturbation_and_a_census(peer: Peer) -> None:
    """A request sends to a backend, the sidecar perturbs that byte, the worker answers."""
    kept: list[socket.socket] = []

    with socket.create_server(("127.0.0.1", 0)) as backend:
        address = backend.getsockname()

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            if environ["PATH_INFO"] == "/use":
                kept.append(socket.create_connection(address))
                kept[0].sendall(b"hello")
            return sized(b"x")(environ, start_response)

        wrapped = SeismWSGI(app, sidecar=peer.address)
        call(wrapped)
        (hello,) = peer.wait(Hello)
        peer.tell(Proxies((Proxied("db", *address),)))
        eventually(lambda: observer.LEDGER.backend_of(address), "the proxies are known")
        call(wrapped, PATH_INFO="/use")
        local = address_text(kept[0].getsockname())
        ended = peer.wait(RequestEnded, 2)[1]
        (exchange,) = ended.sends
        assert (exchange.backend, exchange.local) == ("db", local)
        assert (exchange.sends, exchange.sent) == (1, 5)
        assert ended.connections == 1
        assert ended.request == f"{hello.worker}-2" == peer.records(RequestBegun)[1].request

        peer.tell(
            PerturbationBegan(
                "p1", "db", "t", "latency", time.monotonic(), "upstream", local,
                address_text(address), "", 0,
            )
        )  # fmt: skip
        assert peer.wait(Attribution) == [
            Attribution("p1", ended.request, "ledger", True, "hit", "bytes", 1)
        ]
        peer.tell(CensusAsked("c1"))
        census = peer.wait(Census)[0]
        (row,) = census.connections
        assert (row.backend, row.local, row.in_use) == ("db", local, False)
        assert row.opener == row.user == ended.request and census.rss > 0
        kept[0].close()
        peer.tell(CensusAsked("c2"))
        assert peer.wait(Census, 2)[1].connections == ()


def test_requests_in_flight(peer: Peer) -> None:
    seen: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(found.in_flight)
        return sized(b"x")(environ, start_response)

    found = observer.configured(peer.address, None, "wsgi")
    assert found is not None and found is observer.configured(peer.address, None, "wsgi")
    call(SeismWSGI(app, sidecar=peer.address))
    assert (seen, found.in_flight) == ([1], 0)


def test_vitals() -> None:
    vitals = Vitals()
    rss = vitals.rss(1.0)
    assert rss is not None and rss > 1_000_000
    assert not vitals.due(1.01) and vitals.due(1.06)
    assert vitals.cpu_percent() >= 0


def test_what_began_before_the_worker_is_known_and_not_said_to_begin(peer: Peer) -> None:
    said: list[str] = []

    def hear(sender: object, *, record: PerturbationBegan) -> None:
        said.append(record.perturbation)

    started = time.monotonic()
    wrapped = SeismWSGI(sized(b"x"), sidecar=peer.address)
    call(wrapped)
    peer.wait(Hello)
    signals.perturbation_began.connect(hear)
    try:
        peer.tell(PerturbationBegan("standing", "db", "down", "down", started - 60))
        peer.tell(PerturbationBegan("new", "db", "down", "down", time.monotonic()))
        eventually(lambda: said, "the new one is said")
        assert said == ["new"]
    finally:
        signals.perturbation_began.disconnect(hear)


def test_the_app_s_response_goes_out_whatever_is_wrong_with_us(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(*_: object) -> None:
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr(observer.Ledger, "prune", wrong)
    assert call(SeismWSGI(sized(b"x"), sidecar=peer.address))[0] == [b"x"]
    assert "is lost" in caplog.text
