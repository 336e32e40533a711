"""Connections: a storm of them, handshakes that hang, and what a front must pass on."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.attack.bystander import created, echo
from tests.attack.target import Address, Target, until


class _Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def app() -> str:
    """The address of a server that answers every GET."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return "{}:{}".format(*server.server_address)


RESET = struct.pack("ii", 1, 0)


def _side_by_side(act: Callable[[], None], seconds: float, threads: int = 4) -> None:
    end = time.monotonic() + seconds

    def again() -> None:
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                act()

    running = [threading.Thread(target=again, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(seconds + 30)


def _leave(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def storm(target: Target, seconds: float) -> None:
    """Connections to a proxy and to control that are reset at once, as fast as they can be had."""
    idle = target.descriptors()
    address = created(target, "storm", echo())

    def connect() -> None:
        for where in (address, (target.host, target.port)):
            client = socket.create_connection(where, timeout=10)
            client.sendall(b"x")
            _leave(client)

    _side_by_side(connect, seconds)
    _all_left(target, idle)


def handshakes(target: Target, seconds: float) -> None:
    """Clients of backends that never answer a TLS handshake; all leave while it hangs."""
    idle = target.descriptors()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:
        upstream = "{}:{}".format(*silent.getsockname())
        address = created(target, "silent", upstream, upstream_tls={"verify": False})
        clients = [socket.create_connection(address, timeout=10) for _ in range(500)]
        until(10, lambda: target.descriptors() >= idle + 2 * len(clients) - 10)
        for client in clients:
            client.sendall(b"hello")
            _leave(client)
        _all_left(target, idle)


def _all_left(target: Target, idle: int) -> None:
    # The bystanders have some, and proxies their listeners.
    if not until(10, lambda: target.descriptors() <= idle + 30):
        raise AssertionError(f"{target.descriptors()} descriptors open, {idle} before")


HEADS = (
    b"GET / HTTP/1.1\r\nHost: a\r\nX:" + b" " * 65_000,
    b"GET /" + b"a/" * 32_000,
    b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + b"x" * 200,
    b"GET / HTTP/1.0\n\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000,
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5_000,
)
"""Heads that are hard to read, bytes that are not HTTP, and a long pipeline."""


def front(target: Target, seconds: float) -> None:
    """Hostile requests through the front, and many connections that ask nothing."""
    quiet = [socket.create_connection(target.front, timeout=10) for _ in range(300)]
    left = iter(HEADS * 1000)

    def ask() -> None:
        _talk(target.front, next(left))

    _side_by_side(ask, seconds)
    for client in quiet:
        client.close()
    if not _talk(target.front, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):
        raise AssertionError("the front no longer passes on")


def _talk(address: Address, data: bytes) -> bytes:
    """What comes of ``data``, as far as it comes at once."""
    with socket.create_connection(address, timeout=2) as client:
        sender = threading.Thread(target=_send, args=(client, data), daemon=True)
        sender.start()
        heard = b""
        with contextlib.suppress(TimeoutError):
            while part := client.recv(1 << 16):
                heard += part
                if len(heard) > len(data):
                    break
        sender.join(2)
    return heard


def _send(client: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)


def disk(target: Target, seconds: float) -> None:
    """Perturbations that no disk has room for: each connection is one."""
    address = created(target, "disk", echo())
    target.add_toxic("disk", {"type": "latency", "name": "late", "attributes": {"latency": 1}})

    def connect() -> None:
        with socket.create_connection(address, timeout=10) as client:
            client.sendall(b"x")
            client.recv(1)

    _side_by_side(connect, seconds)
