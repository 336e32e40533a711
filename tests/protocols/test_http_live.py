"""Every fault of HTTP between a real server and real clients: what a program sees."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from seism.errors import ConfigurationError
from tests.protocols.behind import LEFT, Behind, behind, outcome
from tests.protocols.outcome import check
from tests.protocols.sessions import http as sessions
from tests.timing import within

PATIENCE = 1.0
"""Seconds that the clients wait for bytes."""

FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "503": ("http_status", {"retry_after": 2}),
    "429": ("http_status", {"status": 429, "body": "slow down"}),
    "500": ("http_status", {"status": 500}),
    "502": ("http_status", {"status": 502, "headers": {"Server": "gateway"}}),
    "504": ("http_status", {"status": 504}),
    "nothing": ("http_empty", {}),
    "bytes": ("http_garbage", {"bytes": 32}),
    "closed": ("http_truncated", {"bytes": 3}),
    "reset": ("http_truncated", {"bytes": 3, "reset": True}),
    "too high": ("http_length", {"error": 10}),
    "too low": ("http_length", {"error": -2}),
    "no number": ("http_chunk", {}),
    "looks whole": ("http_cut", {}),
    "slow": ("http_drip", {"bytes": 2, "interval": 50}),
    "twice": ("http_duplicate", {}),
    "rewritten": ("http_header", {"name": "Content-Encoding", "value": "gzip"}),
    "removed": ("http_header", {"name": "ETag"}),
}

Get = Callable[[], object]
"""GET /plain on one session: its text, and what becomes of the status."""


@contextmanager
def with_requests(port: int, path: str = "/plain") -> Iterator[tuple[Get, Callable[[Any], object]]]:
    with requests.Session() as session:
        session.trust_env = False

        def get() -> object:
            answer = session.get(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE)
            answer.raise_for_status()
            return answer.text

        yield get, lambda error: getattr(error.response, "status_code", "")


@contextmanager
def with_httpx(port: int, path: str = "/plain") -> Iterator[tuple[Get, Callable[[Any], object]]]:
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False
    ) as client:

        def get() -> object:
            return client.get(path).raise_for_status().text

        def code(error: Any) -> object:
            return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else ""

        yield get, code


@contextmanager
def with_aiohttp(port: int, path: str = "/plain") -> Iterator[tuple[Get, Callable[[Any], object]]]:
    with asyncio.Runner() as runner:
        timeout = aiohttp.ClientTimeout(sock_read=PATIENCE)

        async def make() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout)

        async def ask() -> str:
            async with session.get(path, raise_for_status=True) as answer:
                return await answer.text()

        session = runner.run(make())
        try:
            yield lambda: runner.run(ask()), lambda error: getattr(error, "status", "")
        finally:
            runner.run(session.close())


CLIENTS = {"requests": with_requests, "httpx": with_httpx, "aiohttp": with_aiohttp}


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with sessions.server() as port:
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[Behind]:
    with behind("http", server) as made:
        yield made


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_client_makes_of_it(server: int, proxy: Behind, fault: str, client: str) -> None:
    kind, attributes = FAULTS[fault]
    with CLIENTS[client](proxy.port) as (get, code):
        assert get() == "hello\n"
        proxy.fault(kind, {"first": 1}, **attributes)
        raises = outcome(get, code)
        (began,) = proxy.proxies.began
        assert began.exchange is not None and began.exchange.summary == "GET /plain"
        # What is left behind may yet be taken for the next reply, or for its beginning.
        after = LEFT if fault in ("too low", "twice") else proxy.after(lambda: again(get))
    proxy.heal()
    with CLIENTS[client](proxy.port) as (get, _):
        assert get() == "hello\n"
    real = ""
    if kind == "http_status":
        with CLIENTS[client](server, f"/status/{attributes.get('status', 503)}") as (get, code):
            real = outcome(get, code)
        assert raises == real
    check("http", f"{kind}: {fault}", client, raises=raises, after=after, real=real)


def again(get: Get) -> None:
    assert get() == "hello\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_same_connection_goes_on_after_an_answer(proxy: Behind, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    connection.connect()
    connection.auto_open = 0
    proxy.fault(
        "http_status", {"first": 1, "path": "/ec*"}, status=503, retry_after=3, body="x" * 9
    )
    body = b"y" * 300_000 if method == "POST" else None
    connection.request(method, "/echo", body)
    reply = connection.getresponse()
    assert (reply.status, reply.headers["Retry-After"]) == (503, "3")
    assert reply.read() == (b"" if method == "HEAD" else b"x" * 9)
    connection.request("POST", "/echo", b"abc")
    assert connection.getresponse().read() == b"abc"
    connection.close()


def _exchange(port: int, *parts: bytes) -> bytes:
    """What comes back until the server ends the connection; waits for a reply between parts."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        answer = b""
        for part in parts:
            connection.sendall(part)
            answer += connection.recv(65536)
        while data := connection.recv(65536):
            answer += data
    return answer


def test_a_body_that_waits_to_be_asked_for_is_not_waited_for(proxy: Behind) -> None:
    proxy.fault("http_status")
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    answer = _exchange(proxy.port, head)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Connection: close\r\n" in answer


def test_a_client_of_http_1_0_sees_the_end(proxy: Behind) -> None:
    proxy.fault("http_status", body="gone")
    answer = _exchange(proxy.port, b"GET /plain HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\ngone")


def test_an_answer_does_not_overtake_the_replies_before_it(proxy: Behind) -> None:
    proxy.fault("http_status", {"path": "/plain/2"}, status=500, body="second")
    asked = [b"GET /stream", b"GET /plain/2", b"GET /plain/3", b"GET /missing"]
    lines = [one + b" HTTP/1.1\r\nHost: a\r\n" for one in asked]
    lines[-1] += b"Connection: close\r\n"
    answer = _exchange(proxy.port, b"".join(line + b"\r\n" for line in lines))
    parts = [b"part 4", b" 500 ", b"second", b"hello", b" 404 "]
    places = [answer.index(part) for part in parts]
    assert places == sorted(places)


def test_a_drip_is_slow(proxy: Behind) -> None:
    proxy.fault("http_drip", bytes=3, interval=100)
    with with_requests(proxy.port) as (get, _):
        assert get() == "hello\n"
    (ended,) = proxy.proxies.ended(1)
    assert within(ended.at - proxy.proxies.began[0].at, 0.1)


def test_a_reply_that_only_the_end_ends_is_passed_on(proxy: Behind) -> None:
    proxy.fault("http_header", {"path": "/stream"}, name="X-New", value="yes")
    answer = _exchange(proxy.port, b"GET /stream HTTP/1.0\r\n\r\n")
    assert b"\r\nX-New: yes\r\n" in answer
    assert answer.endswith(b"part 4\n")


def test_chunks_are_cut_as_well(proxy: Behind) -> None:
    proxy.fault("http_truncated", bytes=30)
    with requests.Session() as session:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            session.get(f"http://127.0.0.1:{proxy.port}/stream", timeout=10)


@pytest.mark.parametrize(
    ("attributes", "wrong"),
    [
        ({"headers": {"Content-Length": "3"}}, "Content-Length"),
        ({"headers": {"X": "a\r\nY: b"}}, "headers"),
        ({"headers": {"a b": "c"}}, "headers"),
        ({"status": 204, "body": "x"}, "body"),
        ({"status": 100}, "status"),
    ],
)
def test_what_would_be_no_reply_is_refused(
    proxy: Behind, attributes: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        proxy.fault("http_status", **attributes)
