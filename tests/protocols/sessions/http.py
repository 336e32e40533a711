"""HTTP/1.1: requests, httpx, aiohttp and a few raw bytes against aiohttp's server."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import httpx
import requests

from tests.ports import free_port
from tests.processes import process, wait_for
from tests.protocols.record import Sessions

SESSIONS = Sessions()
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def server() -> Iterator[int]:
    port = free_port()
    with process(sys.executable, "-m", "tests.protocols.http_app", str(port)) as child:
        wait_for(port, child)
        yield port


@SESSIONS.add("requests", "GET HEAD POST POST PUT GET DELETE GET GET")
def _(port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(f"{base}/plain?secret=1", headers={"traceparent": TRACEPARENT}).ok
        assert session.head(f"{base}/plain").ok
        assert session.post(f"{base}/echo", data=b"x" * 5000).content == b"x" * 5000
        assert session.post(f"{base}/echo", data=iter([b"one", b"two" * 900])).content[:6]
        assert session.put(f"{base}/echo", data=b"").content == b""
        assert session.get(f"{base}/stream").content.startswith(b"part 0")
        assert session.delete(f"{base}/items/17").status_code == 204
        fresh = session.get(f"{base}/plain", headers={"If-None-Match": '"one"'})
        assert fresh.status_code == 304
        assert session.get(f"{base}/missing").status_code == 404


@SESSIONS.add("httpx", "GET POST POST GET HEAD")
def _(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/plain/42").text == "hello\n"
        assert client.post("/echo", content=b"body").content == b"body"
        assert client.post("/echo", content=iter([b"a", b"b" * 3000])).content[:2] == b"ab"
        assert client.get("/stream").content
        assert client.head("/plain").content == b""


@SESSIONS.add("aiohttp", "GET POST POST GET")
def _(port: int) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("/plain") as answer:
                assert await answer.text() == "hello\n"
            async with session.post("/echo", data=b"e" * 3000, expect100=True) as answer:
                assert len(await answer.read()) == 3000
            async with session.post("/echo", json={"a": 1}) as answer:
                assert await answer.json(content_type=None) == {"a": 1}
            async with session.get("/stream") as answer:
                assert await answer.read()

    asyncio.run(run())


@SESSIONS.add("websocket", "GET", "101 Switching Protocols")
def _(port: int) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.ws_connect("/websocket") as ws:
                await ws.send_str("hello")
                assert (await ws.receive()).data == "HELLO"

    asyncio.run(run())


def raw(port: int, *parts: bytes) -> bytes:
    """Sends the parts, and reads until the server ends."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"".join(parts))
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer


@SESSIONS.add("pipelined", "GET HEAD POST GET GET")
def _(port: int) -> None:
    answer = raw(
        port,
        b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD /plain HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
        b"5;name=value\r\nfirst\r\nA\r\n and more.\r\n0\r\nX: y\r\n\r\n",
        b"\r\nGET http://a/stream HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    assert answer.count(b"HTTP/1.1 200") == 5, answer


@SESSIONS.add("http-1.0", "GET")
def _(port: int) -> None:
    assert raw(port, b"GET /stream HTTP/1.0\r\nHost: a\r\n\r\n").endswith(b"part 4\n")
