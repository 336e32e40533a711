from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from seism_middleware.contract import (
    DOWNSTREAM,
    UPSTREAM,
    Attribution,
    PerturbationBegan,
    PerturbationEnded,
    Proxied,
)
from seism_middleware.correlate import Correlator
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.propagation import doubtful
from seism_middleware.tcp import address_text
from seism_middleware.traffic import Request, current


class Scene:
    """A patched ledger, a backend that answers when told, and a correlator."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.listen = f"127.0.0.1:{self.port}"
        self.ledger = Ledger()
        self.ledger.watch(0, [Proxied("db", "127.0.0.1", self.port)])
        self.patches = Patches(self.ledger)
        self.patches.install()
        self.emitted: list[Attribution] = []
        self.said: list[Any] = []
        self.correlator = Correlator(self.ledger, self.emitted.append, self.said.append)
        self.names = itertools.count(1)
        self.sockets: list[socket.socket] = [self.listener]
        self.ends: dict[socket.socket, socket.socket] = {}

    def connect(self, request: Request | None = None) -> socket.socket:
        token = current.set(request)
        sock = socket.create_connection(("127.0.0.1", self.port))
        current.reset(token)
        self.ends[sock] = self.listener.accept()[0]
        self.sockets += [sock, self.ends[sock]]
        return sock

    def begin(self) -> Request:
        return Request(f"r{next(self.names)}", "GET", time.monotonic())

    def send(self, sock: socket.socket, request: Request | None, size: int = 10) -> None:
        token = current.set(request)
        sock.sendall(b"x" * size)
        current.reset(token)

    def answer(self, sock: socket.socket) -> None:
        self.ends[sock].sendall(b"ok")
        assert sock.recv(2) == b"ok"

    def perturb(self, sock: socket.socket, **values: Any) -> PerturbationBegan:
        began = PerturbationBegan(
            perturbation=f"p{next(self.names)}",
            proxy="db",
            toxic="t",
            type="latency",
            at=time.monotonic(),
            client=address_text(sock.getsockname()),
            listen=self.listen,
        )
        return replace(began, **values)

    def end(self, began: PerturbationBegan, outcome: str, offset: int | None = None) -> Any:
        return PerturbationEnded(began.perturbation, time.monotonic(), outcome, offset)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.patches.uninstall()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def shown(attributions: list[Attribution]) -> list[tuple[Any, ...]]:
    return [
        (
            attribution.request,
            attribution.evidence,
            attribution.exact,
            attribution.role,
            attribution.how,
        )
        for attribution in attributions
    ]


def test_upstream_bytes_of_several(scene: Scene) -> None:
    sock = scene.connect()
    first, second, third = scene.begin(), scene.begin(), scene.begin()
    for request in (first, second, None, third):
        scene.send(sock, request)
    began = scene.perturb(sock, stream=UPSTREAM, offset=15)
    resolve = scene.correlator.resolve
    assert shown(resolve(began)) == [("r2", "ledger", True, "hit", "bytes")]
    assert shown(resolve(began)) == []
    ended = scene.end(began, "passed", 40)
    assert shown(resolve(began, ended)) == [
        (None, "ledger", True, "hit", "bytes"),
        ("r3", "ledger", True, "hit", "bytes"),
    ]
    assert resolve(began, ended) == []


def test_a_signal_that_comes_late_means_the_time_of_the_proxy(scene: Scene) -> None:
    sock = scene.connect()
    first, second = scene.begin(), scene.begin()
    scene.send(sock, first)
    began = scene.perturb(sock, stream=DOWNSTREAM, offset=10, since=0)
    first.over = time.monotonic()
    scene.answer(sock)
    for _ in range(100):
        scene.send(sock, second)
    sock.close()
    assert shown(scene.correlator.resolve(began)) == [("r1", "ledger", True, "hit", "bytes")]


def test_downstream_of_a_pool_is_exact_with_others_in_flight(scene: Scene) -> None:
    sock = scene.connect()
    first, second = scene.begin(), scene.begin()
    scene.send(sock, first)
    scene.answer(sock)
    scene.send(sock, second)
    began = scene.perturb(sock, stream=DOWNSTREAM, offset=20, since=10)
    assert shown(scene.correlator.resolve(began)) == [("r2", "ledger", True, "hit", "bytes")]


def test_downstream_of_a_shared_connection_is_a_set(scene: Scene) -> None:
    sock = scene.connect()
    requests = [scene.begin() for _ in range(3)]
    for request in requests:
        scene.send(sock, request)
    began = scene.perturb(sock, stream=DOWNSTREAM, offset=30, since=0)
    assert shown(scene.correlator.resolve(began)) == [
        (r.id, "ledger", False, "hit", "bytes") for r in requests
    ]
    began = scene.perturb(sock, stream=DOWNSTREAM, offset=30, since=20)
    assert shown(scene.correlator.resolve(began)) == [("r3", "ledger", False, "hit", "bytes")]
    requests[0].over = requests[1].over = time.monotonic()
    began = scene.perturb(sock, stream=DOWNSTREAM, offset=30, since=20)
    assert shown(scene.correlator.resolve(began)) == [("r3", "ledger", True, "hit", "bytes")]


def test_bytes_of_no_request_are_an_exact_none(scene: Scene) -> None:
    sock = scene.connect()
    over = scene.begin()
    over.over = time.monotonic()
    scene.send(sock, over)
    began = scene.perturb(sock, stream=DOWNSTREAM, offset=10, since=0)
    assert shown(scene.correlator.resolve(began)) == [(None, "ledger", True, "hit", "bytes")]


@pytest.mark.parametrize("kind", ["reset_peer", "timeout", "down"])
@pytest.mark.parametrize("early", [True, False])
def test_the_first_user_of_a_broken_idle_connection_is_harmed(
    scene: Scene, kind: str, early: bool
) -> None:
    """Before the signal is handled or after it; once."""
    sock = scene.connect()
    user, harmed, later = scene.begin(), scene.begin(), scene.begin()
    scene.send(sock, user)
    scene.answer(sock)
    user.over = time.monotonic()
    began = scene.perturb(sock, type=kind, stream=DOWNSTREAM, offset=10, since=0)
    if early:
        scene.send(sock, harmed)
    scene.correlator.began(began)
    if not early:
        assert scene.emitted == []
        scene.send(sock, harmed)
    scene.send(sock, later)
    assert shown(scene.emitted) == [("r2", "ledger", True, "harmed", "last")]


def test_an_effect_that_passed_harms_no_one(scene: Scene) -> None:
    sock = scene.connect()
    began = scene.perturb(sock, stream=DOWNSTREAM, offset=0, since=0)
    scene.correlator.began(began)
    scene.correlator.ended(scene.end(began, "removed", 0))
    scene.send(sock, scene.begin())
    assert scene.emitted == []


def test_what_is_told_again_is_no_news(scene: Scene) -> None:
    """As to a worker whose stream was opened anew."""
    sock = scene.connect()
    request = scene.begin()
    scene.send(sock, request)
    request.over = time.monotonic()
    claim = scene.ledger.find(address_text(sock.getsockname()), "", time.monotonic()).claims[0]  # type: ignore[union-attr]
    claim.outstanding = True
    began = scene.perturb(sock, stream=UPSTREAM, offset=0, at=request.began)
    ended = scene.end(began, "passed", 10)
    assert scene.correlator.began(began) and scene.correlator.ended(ended)
    said = (list(scene.emitted), list(scene.said))
    assert [len(records) for records in said] == [1, 1]
    assert not scene.correlator.began(began) and not scene.correlator.ended(ended)
    assert (scene.emitted, scene.said) == said


def test_another_sidecar_counts_anew(scene: Scene) -> None:
    """Its ``p1`` is another perturbation, and those of the one before are over."""
    sock = scene.connect()
    first = scene.begin()
    scene.send(sock, first)
    scene.answer(sock)
    scene.correlator.began(scene.perturb(sock, perturbation="p1", stream=UPSTREAM, offset=0))
    idle = scene.connect()
    scene.correlator.began(
        scene.perturb(idle, perturbation="p2", type="timeout", stream=DOWNSTREAM, offset=0, since=0)
    )
    scene.correlator.start_anew()
    second = scene.begin()
    scene.send(sock, second)
    scene.send(idle, second)
    again = scene.perturb(sock, perturbation="p1", stream=UPSTREAM, offset=10)
    assert scene.correlator.began(again)
    assert [(attribution.perturbation, attribution.request) for attribution in scene.emitted] == [
        ("p1", first.id), ("p1", second.id),
    ]  # fmt: skip


def test_a_cut_after_an_answer_is_only_possible(scene: Scene) -> None:
    sock = scene.connect()
    user = scene.begin()
    scene.send(sock, user)
    waiting = scene.perturb(sock, type="down", stream=DOWNSTREAM, offset=10, since=0)
    assert shown(scene.correlator.resolve(waiting)) == [("r1", "ledger", True, "hit", "bytes")]
    scene.answer(sock)
    answered = scene.perturb(sock, type="down", stream=DOWNSTREAM, offset=10, since=0)
    assert shown(scene.correlator.resolve(answered)) == [("r1", "ledger", False, "hit", "bytes")]
    later = scene.begin()
    scene.send(sock, later)
    assert shown(scene.emitted) == [("r4", "ledger", True, "harmed", "last")]


def test_an_event_at_accept_is_the_openers(scene: Scene) -> None:
    sock = scene.connect(scene.begin())
    began = scene.perturb(sock, type="reset_peer", stream=UPSTREAM, offset=0)
    assert shown(scene.correlator.resolve(began)) == [("r1", "connect", True, "hit", "")]


def test_a_connection_of_another_worker_gets_no_answer(scene: Scene) -> None:
    began = scene.perturb(scene.connect(), client="127.0.0.1:1", offset=0, stream=UPSTREAM)
    scene.correlator.began(began)
    assert scene.correlator.tick(time.monotonic()) is None
    scene.correlator.ended(scene.end(began, "passed", 0))
    wait = scene.correlator.tick(time.monotonic())
    assert wait is not None
    assert scene.correlator.tick(time.monotonic() + wait) is None
    assert scene.emitted == []


def test_the_proxy_may_know_the_connection_first(scene: Scene) -> None:
    sock = scene.connect()
    scene.send(sock, scene.begin())
    (connection,) = scene.ledger._by_local.pop(address_text(sock.getsockname()))
    scene.correlator.began(scene.perturb(sock, stream=UPSTREAM, offset=0))
    assert scene.emitted == []
    scene.ledger.add(connection)
    assert shown(scene.emitted) == [("r1", "ledger", True, "hit", "bytes")]


def test_ports_are_reused(scene: Scene) -> None:
    sock = scene.connect()
    scene.send(sock, scene.begin())
    early = scene.perturb(sock, stream=UPSTREAM, offset=0)
    (connection,) = scene.ledger._by_local[early.client]
    sock.close()
    again = scene.connect()
    (other,) = scene.ledger._by_local.pop(address_text(again.getsockname()))
    other.local = connection.local
    scene.ledger._by_local[other.local].append(other)
    scene.send(again, scene.begin())
    late = replace(early, perturbation="late", at=time.monotonic())
    assert scene.correlator.resolve(early)[0].request == "r1"
    assert scene.correlator.resolve(late)[0].request != "r1"


def test_down_is_whoever_failed_to_connect_meanwhile(scene: Scene) -> None:
    scene.listener.close()
    began = PerturbationBegan("p", "db", "down", "down", time.monotonic(), listen=scene.listen)

    def fail(request: Request | None) -> None:
        token = current.set(request)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", scene.port))
        current.reset(token)

    first, second, third = scene.begin(), scene.begin(), scene.begin()
    fail(first)
    scene.correlator.began(began)
    fail(second)
    fail(second)
    fail(None)
    scene.correlator.ended(PerturbationEnded("p", time.monotonic(), "enabled"))
    fail(third)
    assert shown(scene.emitted) == [
        ("r1", "connect", True, "hit", ""),
        ("r2", "connect", True, "hit", ""),
    ]


def test_bytes_that_went_past_the_ledger_leave_only_the_last(scene: Scene) -> None:
    """What TLS and sendfile look like: the kernel has counted more than was claimed."""
    import os

    sock = scene.connect()
    first, second = scene.begin(), scene.begin()
    scene.send(sock, first)
    os.write(sock.fileno(), b"past the ledger")
    began = scene.perturb(sock, stream=UPSTREAM, offset=2)
    assert shown(scene.correlator.resolve(began)) == [("r1", "ledger", True, "hit", "last")]
    scene.send(sock, second)
    began = scene.perturb(sock, stream=UPSTREAM, offset=2)
    assert shown(scene.correlator.resolve(began)) == [
        ("r1", "ledger", False, "hit", "last"),
        ("r2", "ledger", False, "hit", "last"),
    ]


def test_senders_behind_a_held_reply(scene: Scene) -> None:
    sock = scene.connect()
    first, second = scene.begin(), scene.begin()
    scene.send(sock, first)
    began = scene.perturb(sock, stream=DOWNSTREAM, offset=10, since=0)
    scene.correlator.began(began)
    scene.send(sock, second)
    scene.correlator.ended(scene.end(began, "passed", 20))
    assert shown(scene.emitted) == [
        ("r1", "ledger", True, "hit", "bytes"),
        ("r2", "ledger", False, "hit", "bytes"),
    ]


@pytest.mark.parametrize("opaque", [False, True])
def test_a_thread_that_may_serve_others_is_named_as_possible(scene: Scene, opaque: bool) -> None:
    request = scene.begin()
    sock = scene.connect(request)
    doubted = doubtful.set(True)
    scene.send(sock, request)
    doubtful.reset(doubted)
    connection = scene.ledger.table[sock.fileno()]
    assert connection is not None
    connection.opaque = opaque
    (attribution,) = scene.correlator.resolve(scene.perturb(sock, stream=UPSTREAM, offset=0))
    assert (attribution.request, attribution.exact) == (request.id, False)
