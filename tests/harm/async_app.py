"""A client of Valkey for asyncio, made by hand, that gives up on a reply after 0.3 s.

``$MODE``: ``leak`` opens a connection for whoever finds none, and keeps those of cancelled
calls, open and out of the pool; ``discard`` closes them; ``multiplex`` has one connection for
all, and throws away the replies that nobody waits for any more.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from typing import Any

from seism_middleware.asgi import SeismASGI

log = logging.getLogger("app")
MODE = os.environ["MODE"]
host, _, port = os.environ["BACKEND"].rpartition(":")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def question(key: str) -> bytes:
    return f"*2\r\n$4\r\nECHO\r\n${len(key)}\r\n{key}\r\n".encode()


async def reply(reader: asyncio.StreamReader) -> str:
    length = int((await reader.readline())[1:])
    return (await reader.readexactly(length + 2))[:-2].decode()


class Pool:
    """Connections of one user at a time."""

    def __init__(self) -> None:
        self.free: list[Streams] = []
        self.busy: list[Streams] = []

    async def echo(self, key: str) -> str:
        streams = self.free.pop() if self.free else await asyncio.open_connection(host, int(port))
        self.busy.append(streams)
        try:
            streams[1].write(question(key))
            value = await reply(streams[0])
        except BaseException:
            if MODE == "discard":
                self.busy.remove(streams)
                streams[1].close()
            raise
        self.busy.remove(streams)
        self.free.append(streams)
        return value


class Multiplexer:
    """One connection of many users, whose replies come in the order of the questions."""

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[str]] = deque()
        self.streams: Streams | None = None
        self.lock = asyncio.Lock()

    async def echo(self, key: str) -> str:
        async with self.lock:
            if self.streams is None:
                self.streams = await asyncio.open_connection(host, int(port))
                self.task = asyncio.create_task(self.read())
        waiter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.waiting.append(waiter)
        self.streams[1].write(question(key))
        return await waiter

    async def read(self) -> None:
        assert self.streams is not None
        while True:
            value = await reply(self.streams[0])
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(value)


clients: list[Pool | Multiplexer] = []


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if not clients:
        clients.append(Multiplexer() if MODE == "multiplex" else Pool())
    key = scope["seism.request"]
    status, headers, body = 200, [(b"content-type", b"text/plain")], b""
    try:
        value = await asyncio.wait_for(clients[0].echo(key), 0.3)
        body = value.encode()
        if value != key:
            with open(os.environ["TRUTH"], "a", encoding="utf-8") as file:
                file.write(f"{key}\n")
    except (TimeoutError, OSError) as error:
        log.error("store failed: %s", type(error).__name__)
        status, headers = 503, [*headers, (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = SeismASGI(application)
