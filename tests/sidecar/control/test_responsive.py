"""Control answers at once, whatever the data does: a real ``seism serve`` under stuck data.

The figures are printed: ``pytest tests/sidecar/control/test_responsive.py -s``.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seism.client import Control
from seism.errors import ConfigurationError
from seism.model import address
from seism.options import build, describe
from seism.protocols import exchange
from seism.protocols.fault import Fault
from seism.registry import load
from tests.processes import sidecar, until
from tests.sidecar.control.samples import scrape
from tests.sidecar.control.sse import Reader
from tests.timing import CONTROL_P99, in_time

CONNECTIONS = 1000
ROUNDS = 30
"""Each makes eight requests: a bounded count, of which the slowest one in a hundred counts."""
ATTEMPTS = 3
PATIENCE = 60.0
EXCHANGES = [name for name, each in load().toxics.items() if each.__module__ == exchange.__name__]
"""Toxics that act on the exchanges of any protocol; those of one protocol do no more."""
BYTES = [name for name, toxic in load().toxics.items() if not issubclass(toxic, Fault)]


@pytest.fixture(scope="module", autouse=True)
def descriptors() -> Iterator[None]:
    """Both ends of the connections are in this process; the sidecar inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, descriptors: None) -> Iterator[Control]:
    with sidecar(tmp_path_factory.mktemp("responsive") / "journal.jsonl") as control:
        yield control


class Backend:
    """Accepts, reads nothing, and can be made to send to everybody."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = "{}:{}".format(*self._listener.getsockname())
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                self.ends.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        for end in self.ends:
            end.close()


@contextlib.contextmanager
def many(served: Control, name: str, count: int) -> Iterator[tuple[list[socket.socket], Backend]]:
    """``count`` connections through a proxy called ``name``."""
    backend = Backend()
    protocol = "redis" if name in EXCHANGES else ""
    made = served.call(
        "POST", "/proxies", {"name": name, "upstream": backend.address, "protocol": protocol}
    )
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            clients.append(socket.create_connection(address(made["listen"], ""), PATIENCE))
        until(lambda: len(backend.ends) == count)
        yield clients, backend
    finally:
        served.call("DELETE", f"/proxies/{name}")
        for client in clients:
            client.close()
        backend.close()


def stuff(sock: socket.socket) -> None:
    """Send until nothing more is taken, or much was: some toxics drop what they get."""
    sock.setblocking(False)
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        selector.register(sock, selectors.EVENT_WRITE)
        for _ in range(256):
            if not selector.select(0.2):
                return
            sock.send(bytes(65536))


def holding(kind: str) -> dict[str, Any]:
    """Attributes of a toxic by which it holds on for as long as it can."""
    cls = load().toxics[kind]
    long: dict[str, Any] = {}
    needed: dict[str, Any] = {}
    for key in describe(cls):
        option = key.option
        if key.required:
            needed[key.name] = option.choices[0] if option.choices else max(option.minimum or 0, 1)
        elif option.unit in ("ms", "µs", "us", "s") and option.maximum is not None:
            long[key.name] = option.maximum
    # Keys may exclude each other, and of some one is needed, whichever.
    single = ({key.name: key.option.maximum} for key in describe(cls) if key.option.maximum)
    for more in (long, {}, *single):
        with contextlib.suppress(ConfigurationError):
            build(cls, {**needed, **more}, kind)
            return {**needed, **more}
    raise AssertionError(f"{kind} cannot be made")


def p99(served: Control, proxy: str, kind: str | None) -> tuple[float, float]:
    """The 99th percentile and the worst, in seconds, of a bounded count of all sorts of requests.

    With a ``kind``, some change the toxic that holds the connections, which touches each.
    """
    took: list[float] = []

    def timed(method: str, path: str, body: Any = None) -> None:
        began = time.monotonic()
        served.call(method, path, body)
        took.append(time.monotonic() - began)

    for number in range(ROUNDS):
        timed("GET", "/proxies")
        timed("GET", f"/proxies/{proxy}/toxics")
        timed("GET", "/seism/connections?limit=100")
        began = time.monotonic()
        scrape(served)
        took.append(time.monotonic() - began)
        timed("POST", "/proxies", {"name": "other", "upstream": "127.0.0.1:1"})
        timed("POST", "/proxies/other/toxics", {"type": "latency", "name": "x"})
        if kind is not None and number % 5 == 0:
            timed("PATCH", f"/proxies/{proxy}/toxics/held", {"attributes": holding(kind)})
        else:
            timed("PATCH", "/proxies/other", {"enabled": False})
        timed("DELETE", "/proxies/other")
    took.sort()
    return took[int(len(took) * 0.99)], took[-1]


def judge(
    what: str, served: Control, proxy: str, kind: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measure, print, and fail if it is too slow.

    What control waits for it waits for each time; what else a busy machine does comes and
    goes. So the best of three attempts counts, and the first good one ends it.
    """
    for _ in range(ATTEMPTS):
        figure, worst = p99(served, proxy, kind)
        with capsys.disabled():
            print(
                f"\ncontrol: p99 {figure * 1000:.1f} ms, at worst {worst * 1000:.1f} ms,"
                f" with {what} (wanted: p99 {CONTROL_P99 * 1000:g} ms on an idle machine)"
            )
        if in_time(figure):
            return
    pytest.fail(f"control is slow with {what}")


@pytest.mark.parametrize("kind", sorted({*BYTES, *EXCHANGES}))
def test_while_connections_are_stuck_in_a_toxic(
    served: Control, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,000 of them, with data both ways; a client and a backend have stopped reading."""
    with many(served, kind, CONNECTIONS) as (clients, backend):
        stuff(backend.ends[0])
        for stream in ("upstream", "downstream"):
            name = "held" if stream == "downstream" else "other"
            toxic = {"type": kind, "name": name, "stream": stream, "attributes": holding(kind)}
            served.add_toxic(kind, toxic)
        for end in (*clients[1:], *backend.ends[1:]):
            with contextlib.suppress(OSError):  # a toxic may have closed it
                end.send(b"some bytes\r\n")
        stuff(backend.ends[1])
        stuff(clients[2])
        judge(f"{CONNECTIONS} connections in {kind}", served, kind, kind, capsys)
        shown = served.proxies()[kind]
        assert {toxic["name"] for toxic in shown["toxics"]} == {"held", "other"}


def test_while_events_are_not_read_and_perturbations_come(
    served: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten readers that have stopped, while each of 1,000 messages a second is a perturbation."""
    where = (served.host, served.port)
    with contextlib.ExitStack() as stack:
        clients, backend = stack.enter_context(many(served, "busy", 20))
        served.add_toxic("busy", {"type": "latency", "attributes": {"latency": 1}})
        for _ in range(10):
            stack.enter_context(Reader(where, receive=4096))
        stop = threading.Event()

        def talk() -> None:
            while not stop.wait(0.02):
                for end in backend.ends:
                    end.sendall(b"x")

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        try:
            judge("perturbations and 10 stuck readers of events", served, "busy", None, capsys)
        finally:
            stop.set()
            thread.join(PATIENCE)
        assert clients[0].recv(1)


def test_while_the_journal_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe that nobody reads, filled by perturbations."""
    pipe = tmp_path / "journal"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with sidecar(pipe) as control:
            control.call("POST", "/proxies", {"name": "down", "upstream": "127.0.0.1:1"})
            for _ in range(400):  # two records each, more than a pipe holds
                control.enable("down", False)
                control.enable("down", True)
            judge("a journal that is stuck", control, "down", None, capsys)
            os.close(reader)
            reader = -1
    finally:
        if reader >= 0:
            os.close(reader)


def test_while_the_backend_does_not_answer_the_connect(
    served: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    """A listener whose backlog is full drops SYNs, as a blackholed address does."""
    with contextlib.ExitStack() as stack:
        blackhole = stack.enter_context(socket.socket())
        blackhole.bind(("127.0.0.1", 0))
        blackhole.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(blackhole.getsockname())
        upstream = "{}:{}".format(*blackhole.getsockname())
        made = served.call("POST", "/proxies", {"name": "stuck", "upstream": upstream})
        for _ in range(100):
            client = socket.create_connection(address(made["listen"], ""), PATIENCE)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stack.enter_context(client)
        until(lambda: served.call("GET", "/seism/connections?proxy=stuck")["open"] == 100)
        shown = served.call("GET", "/seism/connections?proxy=stuck")["connections"]
        assert [each["source"] for each in shown] == [""] * 100
        judge("100 connections whose backend does not answer", served, "stuck", None, capsys)
        began = time.monotonic()
        served.call("DELETE", "/proxies/stuck")
        deleted = time.monotonic() - began
    assert in_time(deleted)
