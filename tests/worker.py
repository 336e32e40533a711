"""A worker of an app, played line by line, on the stream of a real sidecar."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seism.client import Control
from seism.clock import MonotonicClock
from seism_middleware import contract, wire
from seism_middleware.contract import Hello, RequestEnded
from seism_middleware.wire import PROTOCOL, STREAM_PATH


class Worker:
    """Its requests are named ``w-1``, ``w-2``, ..."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._number = 0
        self._requests = 0

    def say(self, *records: Any) -> None:
        lines = []
        for record in records:
            self._number += 1
            lines.append(wire.encode(record, self._number))
        self._stream.sendall(b"".join(lines))

    def ended(self, status: int = 200, route: str = "/", **more: Any) -> RequestEnded:
        """A request that has just ended, for ``say``."""
        self._requests += 1
        now = time.monotonic()
        return RequestEnded(
            f"w-{self._requests}", "GET", route, now - 0.01, 0.01, status, "complete", **more
        )


@contextmanager
def worker(control: Control) -> Iterator[Worker]:
    """It has been welcomed, and is gone when the block ends."""
    with socket.create_connection((control.host, control.port), timeout=10) as stream:
        head = (
            f"GET {STREAM_PATH} HTTP/1.1", f"Host: {control.host}:{control.port}",
            "Connection: Upgrade", f"Upgrade: {PROTOCOL}", "", "",
        )  # fmt: skip
        stream.sendall("\r\n".join(head).encode())
        heard = b""
        while not heard.endswith(b"\r\n\r\n"):
            heard += stream.recv(1)
        assert heard.startswith(b"HTTP/1.1 101"), heard
        played = Worker(stream)
        clock = MonotonicClock()
        played.say(Hello("w", 1, contract.Clock(clock.domain, clock.now()), "wsgi"))
        stream.recv(1)
        yield played
