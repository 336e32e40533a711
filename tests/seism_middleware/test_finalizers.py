"""What code sends that runs in the midst of a request, but not for it, is nobody's."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from seism_middleware.contract import Proxied
from seism_middleware.drivers.span import Spans, Track
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.traffic import Claim, Request, current


class Farewell:
    """Says goodbye when it goes, as a task's result unsubscribes; ``cycle`` keeps it longer."""

    def __init__(self, say: Callable[[], object], cycle: bool) -> None:
        self.say = say
        self.me = self if cycle else None

    def __del__(self) -> None:
        self.say()


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    patches = Patches(ledger)
    patches.install()
    assert "gc.callbacks" in patches.names
    count = len(gc.callbacks)
    gc.disable()
    yield ledger
    gc.enable()
    patches.uninstall()
    assert len(gc.callbacks) == count - 1


@pytest.fixture
def sock(ledger: Ledger) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ledger.watch(0, [Proxied("db", *listener.getsockname())])
        with socket.create_connection(listener.getsockname()) as sock:
            yield sock


@pytest.fixture
def request_(ledger: Ledger) -> Iterator[Request]:
    request = Request("r", "GET", 0.0)
    token = current.set(request)
    yield request
    current.reset(token)


def claims(ledger: Ledger) -> list[Claim]:
    (connection,) = ledger._open.values()
    return connection.history()


def test_a_finalizer_that_a_collection_runs_is_nobodys(
    ledger: Ledger, sock: socket.socket, request_: Request
) -> None:
    Farewell(lambda: sock.sendall(b"gone"), cycle=True)
    sock.sendall(b"mine")
    gc.collect()
    sock.sendall(b"mine")
    assert [(c.request, c.sure) for c in claims(ledger)] == [
        (request_, True), (None, True), (request_, True),
    ]  # fmt: skip
    assert list(request_.sends.values()) == [[2, 8]]


def test_one_that_the_request_itself_caused_is_its_own(
    ledger: Ledger, sock: socket.socket, request_: Request
) -> None:
    """The twin: whoever drops the last reference asks."""
    Farewell(lambda: sock.sendall(b"gone"), cycle=False)
    assert [(c.request, c.sure) for c in claims(ledger)] == [(request_, True)]


def test_others_go_on_while_a_finalizer_waits(
    ledger: Ledger, sock: socket.socket, request_: Request
) -> None:
    """Its thread is another one: a finalizer that waits lets the request's threads run."""

    def wait() -> None:
        thread = threading.Thread(target=sock.sendall, args=(b"other",))
        token = current.set(None)
        thread.start()
        current.reset(token)
        thread.join()

    elsewhere = Request("r2", "GET", 0.0)

    def send() -> None:
        current.set(elsewhere)
        sock.sendall(b"theirs")

    def both() -> None:
        thread = threading.Thread(target=send)
        thread.start()
        thread.join()
        wait()

    Farewell(both, cycle=True)
    gc.collect()
    assert [c.request for c in claims(ledger)] == [elsewhere, None]


def test_a_drivers_call_and_a_failed_connect_in_a_finalizer_are_nobodys(
    ledger: Ledger, request_: Request
) -> None:
    spans, seen = Spans(ledger), list[Any]()

    def call() -> None:
        span = spans.enter(Track(), None)
        assert span is not None
        seen.append(span.request)
        ledger.refused("db", 0.0)

    call()
    assert seen == [request_] and request_.refused == {"db": 1}
    Farewell(call, cycle=True)
    gc.collect()
    assert seen == [request_, None] and request_.refused == {"db": 1}


def test_the_clean_up_of_a_thread_is_nobodys(
    ledger: Ledger, sock: socket.socket, request_: Request
) -> None:
    own = threading.local()

    def work() -> None:
        own.farewell = Farewell(lambda: sock.sendall(b"gone"), cycle=False)
        sock.sendall(b"mine")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [c.request for c in claims(ledger)] == [request_, None]
