"""Evidence beyond the ledger's own: traces, what nobody claims, threads in the kernel."""

from __future__ import annotations

import ctypes
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from seism_middleware.blocked import blocked_on, readable
from seism_middleware.contract import (
    UPSTREAM,
    Attribution,
    Hold,
    Looked,
    PerturbationBegan,
    PerturbationEnded,
    Proxied,
)
from seism_middleware.correlate import Correlator
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.tcp import address_text
from seism_middleware.traffic import Request, current
from seism_middleware.wsgi import SeismWSGI
from tests.seism_middleware.peer import Peer, eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
HOLD = 60.0


class Scene:
    """A backend, a correlator that knows who runs, and what it says."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.ledger = Ledger()
        self.ledger.watch(0, [Proxied("db", "127.0.0.1", self.port)])
        self.patches = Patches(self.ledger)
        self.running: list[Request] = []
        self.emitted: list[Attribution] = []
        self.said: list[Any] = []
        self.correlator = Correlator(
            self.ledger, self.emitted.append, self.said.append, lambda: self.running, lambda: True
        )
        self.sockets = [self.listener]

    def begin(self, trace: str = "") -> Request:
        request = Request(f"r{len(self.running) + 1}", "GET", time.monotonic())
        if trace:
            request.scope = {"HTTP_TRACEPARENT": f"00-{trace}-b7ad6b7169203331-01"}
        self.running.append(request)
        return request

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port))
        self.sockets += [sock, self.listener.accept()[0]]
        return sock

    def send(self, sock: socket.socket, request: Request | None) -> None:
        token = current.set(request)
        sock.sendall(b"x" * 10)
        current.reset(token)

    def perturb(self, sock: socket.socket, **values: Any) -> PerturbationBegan:
        began = PerturbationBegan(
            "p", "db", "t", "latency", time.monotonic(), UPSTREAM,
            address_text(sock.getsockname()), f"127.0.0.1:{self.port}", offset=0,
        )  # fmt: skip
        return replace(began, **values)

    def attributions(self, began: PerturbationBegan) -> set[tuple[str | None, str, bool]]:
        return {(x.request, x.evidence, x.exact) for x in self.correlator.resolve(began)}

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.patches.uninstall()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def test_a_trace_names_its_request(scene: Scene) -> None:
    scene.patches.install()
    sock = scene.connect()
    request = scene.begin(TRACE)
    scene.begin()
    scene.send(sock, request)
    assert scene.attributions(scene.perturb(sock, trace=TRACE)) == {("r1", "trace", True)}


def test_two_requests_of_one_trace_are_possible(scene: Scene) -> None:
    scene.begin(TRACE)
    scene.begin(TRACE)
    finding = scene.correlator._evidence["trace"].first(
        type("Case", (), {"began": replace(scene.perturb(scene.connect()), trace=TRACE)})()
    )
    assert finding is not None
    assert not finding.exact and len(finding.found) == 2


def test_a_trace_that_nobody_has_falls_through(scene: Scene) -> None:
    scene.patches.install()
    sock = scene.connect()
    scene.send(sock, scene.begin())
    assert scene.attributions(scene.perturb(sock, trace=TRACE)) == {("r1", "ledger", True)}


def test_evidence_that_disagrees_is_possible_and_all_of_it_shown(scene: Scene) -> None:
    scene.patches.install()
    sock = scene.connect()
    scene.begin(TRACE)
    scene.send(sock, scene.begin())
    found = scene.attributions(scene.perturb(sock, trace=TRACE))
    assert {(request, exact) for request, _, exact in found} == {("r1", False), ("r2", False)}


def test_bytes_for_no_request_are_exactly_nobodys(scene: Scene) -> None:
    scene.patches.install()
    sock = scene.connect()
    scene.begin()
    scene.send(sock, None)
    assert scene.attributions(scene.perturb(sock)) == {(None, "ledger", True)}


def test_bytes_of_a_thread_with_a_queue_may_be_anybodys(scene: Scene) -> None:
    """A client's own threads work for requests that they do not know."""
    scene.patches.install()
    work: queue.Queue[socket.socket | None] = queue.Queue()

    def serve() -> None:
        while (sock := work.get()) is not None:
            sock.sendall(b"x" * 10)
            done.set()

    done = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    sock = scene.connect()
    scene.begin()
    work.put(sock)
    assert done.wait(10)
    work.put(None)
    thread.join(10)
    assert scene.attributions(scene.perturb(sock)) == {("r1", "overlap", False)}


@pytest.mark.parametrize(
    ("multiplexes", "expected"),
    [
        (False, {("r2", "ledger", True)}),
        (True, {("r1", "ledger", False), ("r2", "ledger", False)}),
    ],
)
def test_on_bytes_that_cannot_be_counted_the_last_of_one_user_at_a_time(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    multiplexes: bool,
    expected: set[tuple[str, str, bool]],
) -> None:
    """Where HTTP/2 is imported, one connection may serve several requests at the same time."""
    monkeypatch.delitem(sys.modules, "h2", raising=False)  # another test may have imported it
    if multiplexes:
        monkeypatch.setitem(sys.modules, "h2", ModuleType("h2"))
    scene.ledger.watch(0, [Proxied("db", "127.0.0.1", scene.port, tls=True)])
    scene.patches.install()
    sock = scene.connect()
    scene.send(sock, scene.begin())
    scene.sockets[-1].sendall(b"ok")
    assert sock.recv(2) == b"ok"
    scene.send(sock, scene.begin())
    assert scene.attributions(scene.perturb(sock, offset=3)) == expected


# The kernel. A C client: calls into libc that give up the interpreter's lock.

LIBC = ctypes.CDLL(None, use_errno=True)


def receive(fd: int) -> None:
    LIBC.recv(fd, ctypes.create_string_buffer(1), 1, 0)


def poll(fd: int) -> None:
    polled = ctypes.create_string_buffer(fd.to_bytes(4, "little") + b"\1\0\0\0", 8)
    LIBC.poll(polled, 1, 10_000)


def select(fd: int) -> None:
    wanted = ctypes.create_string_buffer(128)
    wanted[fd // 8] = 1 << fd % 8
    LIBC.select(fd + 1, wanted, None, None, None)


class Blocked:
    """Requests of a WSGI app, each in a thread that is blocked on a socket."""

    def __init__(self, sidecar: str) -> None:
        self._sidecar = sidecar
        self._threads = ThreadPoolExecutor(4)
        self.requests: list[str] = []

    def on(self, fd: int, how: Callable[[int], None]) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            self.requests.append(environ["seism.request"])
            how(fd)
            start_response("200 OK", [])
            return [b""]

        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
        count = len(blocked_on(fd))
        self._threads.submit(SeismWSGI(app, sidecar=self._sidecar), environ, lambda *a: None)
        eventually(lambda: len(blocked_on(fd)) > count, "blocked")

    def close(self) -> None:
        self._threads.shutdown()


@pytest.fixture
def blocked(peer: Peer, closing: Callable[[Any], Any]) -> Iterator[Blocked]:
    blocked = Blocked(peer.address)
    yield blocked
    blocked.close()


@pytest.mark.skipif(not readable(), reason="this process may not look at itself")
@pytest.mark.parametrize("how", [receive, poll, select])
def test_a_thread_that_is_blocked_in_c(
    scene: Scene, blocked: Blocked, how: Callable[[int], None]
) -> None:
    """Exact while the proxy holds the bytes, otherwise possible."""
    sock, other = scene.connect(), scene.connect()
    scene.ledger.forget()  # as if C had connected
    blocked.on(other.fileno(), how)
    blocked.on(sock.fileno(), how)
    began = scene.perturb(sock, hold=HOLD)
    assert scene.attributions(began) == {(blocked.requests[1], "kernel", True)}
    unheld = replace(began, perturbation="q", hold=0.0)
    assert scene.attributions(unheld) == set()  # possible only, and told if nobody knows better
    (case,) = [c for cs in scene.correlator._unknown.values() for c in cs if c.began is unheld]
    assert case.possible is not None and not case.possible.exact
    assert {r.id for r in case.possible.requests if r} == {blocked.requests[1]}
    for end in (sock, other):
        scene.sockets[scene.sockets.index(end) + 1].sendall(b"x")


@pytest.mark.skipif(not readable(), reason="this process may not look at itself")
def test_two_threads_on_one_socket_are_possible(scene: Scene, blocked: Blocked) -> None:
    sock = scene.connect()
    scene.ledger.forget()
    blocked.on(sock.fileno(), receive)
    blocked.on(sock.fileno(), receive)
    assert scene.attributions(scene.perturb(sock, hold=HOLD)) == set()
    (case,) = scene.correlator._unknown[address_text(sock.getsockname())]
    assert case.possible is not None
    assert {r.id for r in case.possible.requests if r} == set(blocked.requests)
    scene.sockets[-1].sendall(b"xx")


def test_what_is_unknown_to_the_end_is_told_and_the_next_is_held(scene: Scene) -> None:
    sock = scene.connect()
    scene.ledger.forget()
    scene.begin()
    began = scene.perturb(sock)
    scene.correlator.began(began)
    assert scene.emitted == [] and scene.said == []
    scene.correlator.ended(PerturbationEnded("p", time.monotonic(), "passed", 10))
    wait = scene.correlator.tick(time.monotonic())
    assert wait is not None
    scene.correlator.tick(time.monotonic() + wait)
    assert [
        (attribution.request, attribution.evidence, attribution.exact)
        for attribution in scene.emitted
    ] == [("r1", "overlap", False)]
    assert Hold((began.client,)) in scene.said or not readable()
    scene.correlator.began(replace(began, perturbation="q", hold=HOLD))
    assert scene.said[-1] == Looked("q")


@pytest.mark.skipif(not readable(), reason="this process may not look at itself")
def test_where_nothing_is_followed_the_next_is_held_at_once(scene: Scene) -> None:
    sock = scene.connect()
    scene.correlator._unfollowed = lambda: True
    scene.ledger.forget()
    scene.begin()
    began = scene.perturb(sock)
    scene.correlator.began(began)
    assert scene.emitted == [] and scene.said == [Hold((began.client,))]
    scene.correlator.began(replace(began, perturbation="q", hold=HOLD))
    assert scene.said[-1] == Looked("q")


def test_a_busy_worker_hears_late_of_what_hit_it(scene: Scene) -> None:
    """The socket is closed by then, and the request is over."""
    sock = scene.connect()
    scene.ledger.forget()
    request = scene.begin()
    began = scene.perturb(sock)
    assert [local for _, local, _ in scene.ledger.unowned()] == [began.client]
    request.over = time.monotonic()
    sock.close()
    scene.correlator.began(began)
    scene.correlator.ended(PerturbationEnded("p", time.monotonic(), "passed", 10))
    scene.correlator.tick(time.monotonic() + 100)
    assert scene.emitted == [Attribution("p", "r1", "overlap", exact=False)]


def test_a_connection_of_another_process_is_not_ours(scene: Scene) -> None:
    scene.begin()
    scene.connect()
    began = scene.perturb(scene.sockets[-2], client="127.0.0.1:1")
    scene.correlator.began(began)
    scene.correlator.ended(PerturbationEnded("p", time.monotonic(), "passed", 10))
    scene.correlator.tick(time.monotonic() + 100)
    assert scene.emitted == [] and scene.said == []
