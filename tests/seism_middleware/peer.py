"""A real TCP peer that speaks the contract's side of the sidecar, for tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from seism_middleware.contract import Clock, Proxied, Welcome
from seism_middleware.wire import clock_domain, decode, encode

PATIENCE = 10.0


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """The first true result of ``condition``, asked until ``PATIENCE`` seconds are over."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        result = condition()
        if result:
            return result
        time.sleep(0.002)
    raise AssertionError(f"never: {what}")


class Peer:
    """Accepts workers on a free port of loopback, or on ``port``, and keeps what they say."""

    def __init__(self, proxies: tuple[Proxied, ...] = (), status: int = 101, port: int = 0) -> None:
        self.proxies = proxies
        self.status = status
        self.reading = threading.Event()
        self.reading.set()
        self.heads: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.received: list[tuple[Any, int | None]] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self.reading.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self._threads[0].join(PATIENCE)  # no connection comes after this
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._talk(connection)
            except OSError:
                pass

    def _talk(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(4096)
            if not more:
                return
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        self.heads.append(head)
        if self.status != 101:
            connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % self.status)
            return
        welcome = encode(Welcome(Clock(clock_domain(), time.monotonic()), self.proxies))
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + welcome)
        while True:
            self.reading.wait()
            more = connection.recv(65536)
            if not more:
                return
            *lines, data = (data + more).split(b"\n")
            self.received += [decode(line) for line in lines]

    def tell(self, record: Any) -> None:
        """Send ``record`` to the worker that came last."""
        self.connections[-1].sendall(encode(record))

    def records(self, kind: type[Any]) -> list[Any]:
        return [record for record, _ in list(self.received) if isinstance(record, kind)]

    def wait(self, kind: type[Any], count: int = 1) -> list[Any]:
        """The records of ``kind``, once there are ``count`` of them at least."""
        return eventually(
            lambda: found if len(found := self.records(kind)) >= count else None,
            f"{count} {kind.__name__}, but {self.received!r:.2000}",
        )
