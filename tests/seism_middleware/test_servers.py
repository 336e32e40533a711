"""The middleware under real servers: what the client sees is the bare app's, case by case."""

from __future__ import annotations

import http.client
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seism_middleware.contract import RequestEnded
from tests.ports import free_port
from tests.processes import process, until, wait_for
from tests.proxy.harness import read_all, read_exactly
from tests.seism_middleware.peer import Peer

PYTHON = (sys.executable, "-m")
SERVERS = {
    "waitress": ("wsgi", ("waitress", "--listen=127.0.0.1:{port}")),
    "gunicorn sync": ("wsgi", ("gunicorn", "-b", "127.0.0.1:{port}")),
    "gunicorn gthread": ("wsgi", ("gunicorn", "-b", "127.0.0.1:{port}", "--threads", "3")),
    "gunicorn gevent": ("wsgi", ("gunicorn", "-b", "127.0.0.1:{port}", "-k", "gevent")),
    "granian wsgi": ("wsgi", ("granian", "--port", "{port}", "--interface", "wsgi")),
    "uvicorn": ("asgi", ("uvicorn", "--port", "{port}", "--http", "h11", "--ws", "wsproto")),
    "granian asgi": ("asgi", ("granian", "--port", "{port}", "--interface", "asgi")),
}
"""Name -> interface, command."""


@dataclass(frozen=True)
class Running:
    """One server with the bare app, and one with the wrapped."""

    name: str
    interface: str
    bare: int
    wrapped: int
    peer: Peer

    def ended(self, route: str, count: int = 1) -> list[RequestEnded]:
        """The last observation of each of the last ``count`` requests of ``route``."""

        def found() -> list[RequestEnded]:
            of_it = [r for r in self.peer.records(RequestEnded) if r.route == route]
            return list({record.request: record for record in of_it}.values())

        until(lambda: len(found()) >= count, 20)
        return found()[-count:]


@pytest.fixture(scope="module", params=SERVERS)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    interface, command = SERVERS[request.param]
    folder: Path = tmp_path_factory.mktemp("servers")
    with Peer() as peer, (folder / "log").open("wb") as log:
        ports = free_port(), free_port()
        children = [
            process(
                *PYTHON, *(part.format(port=port) for part in command),
                f"tests.seism_middleware.server_apps:{app}",
                env={"SEISM_SIDECAR": peer.address}, stdout=log, stderr=subprocess.STDOUT,
            )
            for app, port in ((interface, ports[0]), (f"seen_{interface}", ports[1]))
        ]  # fmt: skip
        with children[0] as bare, children[1] as wrapped:
            wait_for(ports[0], bare)
            wait_for(ports[1], wrapped)
            yield Running(request.param, interface, *ports, peer)


def ask(port: int, path: str, body: bytes | None = None, rest: float = 20) -> tuple[Any, ...]:
    """What a client makes of one request: status, body, the headers that count, how it ended.

    ``rest``: seconds after which a body whose head has come is taken to be cut.
    """
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        client.request("GET" if body is None else "POST", path, body)
        sock = client.sock  # the response takes it, where the connection is to be closed
        response = client.getresponse()
        if not response.isclosed():
            sock.settimeout(rest)
        headers = {"Content-Length", "Transfer-Encoding", "Retry-After", "Content-Type"}
        kept = {k.title(): v for k, v in response.getheaders() if k.title() in headers}
        try:
            return response.status, response.read(), kept, "whole"
        except (http.client.HTTPException, OSError) as error:
            said = error.partial if isinstance(error, http.client.IncompleteRead) else b""
            return response.status, said, kept, "broken"
    except (http.client.HTTPException, OSError):
        return None, b"", {}, "nothing"
    finally:
        client.close()


CASES = {
    "list": (200, "complete", ""),
    "generator": (200, "complete", ""),
    "empty": (200, "complete", ""),
    "busy": (503, "complete", ""),
    "before": (500, "complete", "KeyError"),
    "after": (500, "complete", "KeyError"),
    "chunk": (200, "truncated", "KeyError"),
    "short": (200, "truncated", ""),
    "read": (200, "complete", ""),
    "unread": (403, "complete", ""),
    "write": (200, "complete", ""),
    "excused": (500, "complete", ""),
    "too-late": (200, "truncated", "KeyError"),
    "file": (200, "complete", ""),
}
ONLY_WSGI = ("write", "excused", "too-late", "file")
CLOSED = ("empty", "after", "chunk", "short", "file")
OTHERWISE = {
    # It has neither write() nor a file_wrapper, and takes a second start_response at any time.
    ("granian wsgi", "write"): (200, "truncated", "TypeError"),
    ("granian wsgi", "file"): (500, "complete", "KeyError"),
    ("granian wsgi", "too-late"): (500, "complete", ""),
    # It raises into an app that says too little.
    ("uvicorn", "short"): (200, "truncated", "h11._util.LocalProtocolError"),
    ("uvicorn", "after"): (200, "truncated", "KeyError"),
    ("granian asgi", "after"): (200, "truncated", "KeyError"),
}
"""What some servers make of it, of a bare app too."""

BY_CHANCE = tuple(("granian wsgi", path) for path in ("short", "after", "chunk"))
"""It closes the connection, sometimes before the head is out, and the iterable at any time: bare as
well."""


@pytest.mark.parametrize("path", CASES)
def test_the_client_sees_what_the_bare_app_shows(running: Running, path: str) -> None:
    if path in ONLY_WSGI and running.interface == "asgi":
        pytest.skip("WSGI has it, ASGI has not")
    status, body, exception = OTHERWISE.get((running.name, path), CASES[path])
    closes = path in CLOSED and running.interface == "wsgi" and running.name != "granian wsgi"
    short = path == "short"
    seen = []
    for port in (running.bare, running.wrapped):
        ask(port, "/told")
        # Some keep a connection open on which there is too little to come.
        answer = ask(port, f"/{path}", b"abc" if path == "read" else None, 6 if short else 20)
        told: list[str] = []
        until(lambda: inside(port, told) if closes else inside(port, told) or True)  # noqa: B023
        seen.append((answer, told))
    # Closed as often, and as often read: a file is still sent by the kernel where it was.
    if (running.name, path) in BY_CHANCE:
        assert {answer[-1] for answer, _ in seen} <= {"broken", "nothing"}
    else:
        assert seen[1] == seen[0]
    (ended,) = running.ended(f"/{path}")
    assert (ended.status, ended.body, ended.exception) == (status, body, exception)
    assert ended.retry_after == (path == "busy")


def inside(port: int, told: list[str]) -> bool:
    """Whether the app's iterable has been closed; ``told`` gets what happened in the app."""
    told += ask(port, "/told")[1].decode().split()
    return "closed" in told


def hello(port: int, path: str, *more: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 20)
    lines = [f"GET {path} HTTP/1.1", "Host: a", *more, "", ""]
    client.sendall("\r\n".join(lines).encode())
    return client


def test_a_client_that_leaves_in_the_middle(running: Running) -> None:
    ask(running.wrapped, "/told")
    client = hello(running.wrapped, "/endless")
    read_exactly(client, 200_000)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    until(lambda: b"closed" in ask(running.wrapped, "/told")[1], 20)
    (ended,) = running.ended("/endless")
    # Under ASGI servers swallow what nobody reads, and tell only an app that receives.
    body = "truncated" if running.interface == "wsgi" else "complete"
    assert (ended.status, ended.body) == (200, body)


def test_what_the_client_keeps_back_is_not_asked_for(running: Running) -> None:
    """Expect: 100-continue: the middleware never reads the input."""
    heads = []
    for port in (running.bare, running.wrapped):
        with hello(port, "/unread", "Content-Length: 3", "Expect: 100-continue",
                   "Connection: close") as client:  # fmt: skip
            client.settimeout(5)
            heads.append(client.recv(12))
    assert heads[0] == heads[1]


@pytest.fixture
def asynchronous(running: Running) -> Running:
    if running.interface != "asgi":
        pytest.skip("ASGI has it, WSGI has not")
    return running


def test_a_disconnect_is_told(asynchronous: Running) -> None:
    for port in (asynchronous.bare, asynchronous.wrapped):
        ask(port, "/told")
        with hello(port, "/waits"):
            # A server that reads the request and its end at once may never call the app.
            until(lambda port=port: b"asked" in ask(port, "/told")[1], 20)  # type: ignore[misc]
        until(lambda port=port: b"disconnected" in ask(port, "/told")[1], 20)  # type: ignore[misc]
    (ended,) = asynchronous.ended("/waits")
    assert (ended.status, ended.body) == (None, "none")


def test_websockets_are_untouched(asynchronous: Running) -> None:
    seen = len(asynchronous.peer.records(RequestEnded))
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    with hello(asynchronous.wrapped, "/socket", "Connection: Upgrade", "Upgrade: websocket",
               "Sec-WebSocket-Version: 13", key) as client:  # fmt: skip
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read_exactly(client, 1)
        assert b" 101 " in head and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        client.sendall(b"\x81\x82\x00\x00\x00\x00hi")  # a masked text frame, RFC 6455, 5.2
        assert read_exactly(client, 6) == b"\x81\x04hihi"
        client.sendall(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
        read_all(client)
    until(lambda: b"websocket.disconnect" in ask(asynchronous.wrapped, "/told")[1], 20)
    # Those of earlier tests may come in only now; the records of one worker keep their order.
    until(lambda: "/told" in routes_since(asynchronous, seen), 20)
    assert "/socket" not in routes_since(asynchronous, seen)


def routes_since(running: Running, seen: int) -> set[str]:
    return {record.route for record in running.peer.records(RequestEnded)[seen:]}


def test_lifespan_is_untouched(tmp_path: Path) -> None:
    for name, (interface, command) in SERVERS.items():
        if interface != "asgi":
            continue
        port = free_port()
        with Peer() as peer, (tmp_path / name).open("wb") as log, process(
            *PYTHON, *(part.format(port=port) for part in command),
            "tests.seism_middleware.server_apps:seen_asgi",
            env={"SEISM_SIDECAR": peer.address}, stdout=log, stderr=subprocess.STDOUT,
        ) as child:  # fmt: skip
            wait_for(port, child)
            assert ask(port, "/told")[1] == b"started", name
