from __future__ import annotations

import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism_middleware.contract import Proxied
from seism_middleware.ledger import EXPECTED, MAX_HISTORY, Ledger
from seism_middleware.tcp import address_text
from seism_middleware.traffic import Connection, Request, current

SENDS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100), st.integers(0, 100)))


@given(SENDS)
def test_claims_cover_what_left_and_nothing_else(sends: list[tuple[int, int, int]]) -> None:
    """Sends that were shortened at will: the ranges follow each other without a gap."""
    ledger = Ledger()
    requests = [Request(f"r{n}", "GET", 0.0) for n in range(6)]
    with socket.socket() as sock:
        connection = Connection("db", sock, 0.0, None)
        truth: list[Request] = []
        for who, size, taken in sends:
            token = current.set(requests[who])
            claim = ledger.claim(connection, size, sock)
            current.reset(token)
            ledger.correct(connection, claim, min(size, taken))
            truth += [requests[who]] * min(size, taken)
    claimed = [c.request for c in connection.claims for _ in range(c.length)]
    assert claimed == truth and connection.sent == len(truth)
    assert [c.offset for c in connection.claims][1:] == [c.end for c in connection.claims][:-1]
    for request in requests:
        sends_of = sum(1 for who, _, _ in sends if requests[who] is request)
        if sends_of:
            assert request.sends[connection] == [sends_of, truth.count(request)]
    assert not connection.opaque


def test_proxies_are_found_by_address() -> None:
    ledger = Ledger()
    ledger.watch(1, [Proxied("a", "127.0.0.1", 10), Proxied("b", "0.0.0.0", 11)])
    ledger.watch(2, [Proxied("c", "localhost", 12), Proxied("d", "::1", 10)])
    assert ledger.backend_of(("127.0.0.1", 10)) == "a"
    assert ledger.backend_of(("::ffff:127.0.0.1", 10, 0, 0)) == "a"
    assert ledger.backend_of(("localhost", 10)) == "a"
    assert ledger.backend_of(("::1", 10, 0, 0)) == "d"
    assert ledger.backend_of(("10.0.0.1", 11)) == "b"
    assert ledger.backend_of(("127.0.0.1", 12)) == "c"
    assert ledger.backend_of(("10.0.0.1", 10)) is None
    assert ledger.backend_of("/a/path") is None
    ledger.watch(1, [])
    assert ledger.backend_of(("127.0.0.1", 10)) is None


def test_history_is_bounded() -> None:
    ledger = Ledger()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(MAX_HISTORY + 10):
            connection = Connection("db", listener, 0.0, None)
            ledger.add(connection)
        assert len(ledger) == 1
        assert len(ledger._closed) == MAX_HISTORY
        (known,) = ledger._by_local.values()
        assert len(known) == MAX_HISTORY + 1
        assert ledger.find(known[0].local, "", 1.0) is connection


def test_address_text() -> None:
    assert address_text(("127.0.0.1", 1)) == "127.0.0.1:1"
    assert address_text(("::ffff:127.0.0.1", 1, 0, 0)) == "127.0.0.1:1"
    assert address_text(("::1", 1, 0, 0)) == "[::1]:1"


def test_what_was_sent_before_the_proxies_were_known_is_claimed() -> None:
    ledger, request = Ledger(), Request("r1", "GET", 0.0)
    ledger.expect()
    with (
        socket.create_server(("127.0.0.1", 0)) as proxy,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(proxy.getsockname()) as proxied,
        socket.create_connection(other.getsockname()) as elsewhere,
    ):
        token = current.set(request)
        for sock in (proxied, elsewhere):
            connection = ledger.adopt(sock)
            assert connection is not None
            ledger.claim(connection, 7, sock)
        current.reset(token)
        assert len(ledger) == 0
        ledger.watch(1, [Proxied("db", *proxy.getsockname())])
        found = ledger.find(address_text(proxied.getsockname()), "", 1e9)
        assert found is not None
        assert (found.backend, [(c.request, c.length) for c in found.claims]) == (
            "db", [(request, 7)],
        )  # fmt: skip
        assert ledger.find(address_text(elsewhere.getsockname()), "", 1e9) is None
        assert ledger.adopt(elsewhere) is None
        assert len(ledger) == 1
        assert [c.backend for c in request.sends if c.backend] == ["db"]


def test_nobody_is_followed_for_long_where_no_sidecar_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = Ledger()
    ledger.expect()
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(other.getsockname()) as sock,
    ):
        assert ledger.adopt(sock) is not None
        end = time.monotonic() + EXPECTED
        monkeypatch.setattr("seism_middleware.ledger._monotonic", lambda: end)
        ledger.prune()
        assert ledger.table == {sock.fileno(): None}
        assert ledger.backend_of(other.getsockname()) is None


def test_proxies_that_are_known_need_no_patience() -> None:
    ledger = Ledger()
    ledger.watch(1, [Proxied("db", "127.0.0.1", 10)])
    ledger.expect()
    assert ledger.backend_of(("127.0.0.1", 11)) is None


def test_the_proxies_become_known_while_a_socket_connects() -> None:
    ledger = Ledger()
    ledger.expect()
    with (
        socket.create_server(("127.0.0.1", 0)) as proxy,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        known = [ledger.backend_of(each.getsockname()) for each in (proxy, other)]
        ledger.watch(1, [Proxied("db", *proxy.getsockname())])
        with (
            socket.create_connection(proxy.getsockname()) as proxied,
            socket.create_connection(other.getsockname()) as elsewhere,
        ):
            for sock, backend in zip((proxied, elsewhere), known, strict=True):
                assert backend is not None
                ledger.opened(sock, backend, time.monotonic())
            (found,) = ledger._open.values()
            assert (found.backend, found.sock()) == ("db", proxied)
            assert ledger.table[elsewhere.fileno()] is None


def test_the_proxies_become_known_while_a_socket_is_looked_at() -> None:
    ledger = Ledger()
    with (
        socket.create_server(("127.0.0.1", 0)) as proxy,
        socket.create_connection(proxy.getsockname()) as sock,
    ):

        class Slow:
            """A socket whose peer's name takes until another thread has been told."""

            def fileno(self) -> int:
                return sock.fileno()

            def getpeername(self) -> object:
                ledger.watch(1, [Proxied("db", *proxy.getsockname())])
                raise OSError

        assert ledger.adopt(Slow()) is None
        found = ledger.adopt(sock) if sock.fileno() not in ledger.table else None
        assert found is not None and found.backend == "db"
