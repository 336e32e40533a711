"""A sidecar's proxies in a thread of their own, and real sockets at both ends of them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import gevent
import gevent.event

from seism.clock import MonotonicClock
from seism.model import ProxySpec, ToxicSpec
from seism.proxy.collection import Collection
from seism.registry import Registry
from seism.rng import Seed
from seism_middleware.contract import PerturbationBegan, PerturbationEnded

T = TypeVar("T")
PATIENCE = 20.0
"""Seconds after which something that must happen has not."""


class GeventThread:
    """A native thread with a gevent hub; ``call`` runs functions in greenlets there."""

    def __enter__(self) -> GeventThread:
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.run_callback_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self.loop.run_callback_threadsafe(gevent.spawn, run)
        return future.result(PATIENCE)

    def _run(self, ready: Future[None]) -> None:
        hub = gevent.get_hub()
        self.loop = hub.loop
        alive = hub.loop.async_()  # a loop without a watcher would end
        alive.start(lambda: None)
        self._stop = gevent.event.Event()
        ready.set_result(None)
        self._stop.wait()
        alive.stop()
        alive.close()
        hub.destroy(destroy_loop=True)


class Proxies:
    """A collection in a thread; its methods are called as ``proxies.create(...)`` is."""

    def __init__(self, seed: int = 1, registry: Registry | None = None) -> None:
        self.records: list[PerturbationBegan | PerturbationEnded] = []
        self.changes: list[tuple[Any, ...]] = []
        self.emit: Callable[[Any], None] = self.records.append
        self._seed = seed
        self._registry = registry

    def __enter__(self) -> Proxies:
        self.thread = GeventThread().__enter__()

        def make() -> Collection:
            return Collection(
                Seed(self._seed),
                MonotonicClock(),
                lambda record: self.emit(record),
                lambda: self.changes.append(self.collection.proxied()),
                registry=self._registry,
            )

        self.collection = self.thread.call(make)
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.call(self.collection.close)
        self.thread.__exit__()
        assert open_perturbations(self.records) == set()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self.thread.call(
            getattr(self.collection, method), *args, **kwargs
        )

    def toxic(self, proxy: str, type: str, **values: Any) -> None:
        """Add a toxic; what is no field of ToxicSpec is an attribute."""
        fields = {key: values.pop(key) for key in ("name", "stream", "toxicity") if key in values}
        self.add_toxic(proxy, ToxicSpec(type, **fields, attributes=values))

    @property
    def began(self) -> list[PerturbationBegan]:
        return [record for record in self.records if isinstance(record, PerturbationBegan)]

    def ended(self, count: int) -> list[PerturbationEnded]:
        """Waits until that many have ended."""
        eventually(lambda: len(self._ended()) >= count)
        return self._ended()

    def _ended(self) -> list[PerturbationEnded]:
        return [record for record in self.records if isinstance(record, PerturbationEnded)]


def open_perturbations(records: list[PerturbationBegan | PerturbationEnded]) -> set[str]:
    """Those that have begun and not ended; fails if one began or ended twice, or ended first."""
    seen: set[str] = set()
    open_: set[str] = set()
    for record in records:
        if isinstance(record, PerturbationBegan):
            assert record.perturbation not in seen
            seen.add(record.perturbation)
            open_.add(record.perturbation)
        else:
            open_.remove(record.perturbation)
    return open_


def eventually(condition: Callable[[], object]) -> None:
    """Waits until ``condition`` holds; fails if it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


class Backend:
    """A listening socket, and the two ends of connections through a proxy to it."""

    def __init__(self, proxies: Proxies, name: str = "backend") -> None:
        self.proxies = proxies
        self.name = name
        self._ends: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.address = "{}:{}".format(*self.listener.getsockname())
        self.proxy = proxies.create(ProxySpec(name, self.address))

    def connect(self) -> socket.socket:
        """A client of the proxy."""
        client = socket.create_connection(self.proxy.address, PATIENCE)
        self._ends.append(client)
        return client

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of one connection: the client's, the backend's."""
        client = self.connect()
        server, _ = self.listener.accept()
        server.settimeout(PATIENCE)
        self._ends.append(server)
        return client, server

    def hang_up(self) -> None:
        """Close all connections, and see that the proxy lets go of them."""
        while self._ends:
            self._ends.pop().close()
        eventually(lambda: self.proxy.connections == 0)

    def close(self) -> None:
        self.listener.close()
        self.hang_up()


@contextlib.contextmanager
def backend(**options: Any) -> Iterator[Backend]:
    """Proxies with one backend called ``backend``."""
    with Proxies(**options) as proxies:
        behind = Backend(proxies)
        try:
            yield behind
        finally:
            behind.close()


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        assert more, f"the stream ended after {len(data)} of {size} bytes"
        data += more
    return data


def read_all(sock: socket.socket) -> bytes:
    """Up to the end of the stream."""
    parts = []
    while data := sock.recv(65536):
        parts.append(data)
    return b"".join(parts)


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def exchange(client: socket.socket, server: socket.socket, request: bytes, reply: bytes) -> float:
    """One request and its reply; returns the seconds that it took."""
    began = time.monotonic()
    client.sendall(request)
    assert read_exactly(server, len(request)) == request
    server.sendall(reply)
    assert read_exactly(client, len(reply)) == reply
    return time.monotonic() - began
