"""A TCP forwarder that can be slow, reset or down: the demo's perturbations without Seism."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self

RST = struct.pack("ii", 1, 0)


class Forwarder:
    """Forwards ``address`` to ``upstream``; runs an event loop in a thread of its own."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._links: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._kind = ""
        self._undone = asyncio.Event()
        self._port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._down())
        self._do(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def perturb(self, kind: str) -> None:
        """``latency`` (3 s, upstream), ``reset_peer`` (upstream) or ``down``."""
        self._do(self._perturb(kind))

    def undo(self) -> None:
        """What was held passes at once, the listener is back."""
        self._do(self._undo())

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _perturb(self, kind: str) -> None:
        self._undone.clear()
        self._kind = kind
        if kind == "down":
            await self._down()

    async def _undo(self) -> None:
        if self._kind == "down":
            await self._listen()
        self._kind = ""
        self._undone.set()

    async def _down(self) -> None:
        if self._server is not None:
            self._server.close()
        for client, server in list(self._links):
            client.close()
            server.close()

    async def _finish(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(*self._upstream)
        link = (writer, forth)
        self._links.add(link)
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        tasks = [
            asyncio.ensure_future(self._receive(reader, writer, held)),
            asyncio.ensure_future(self._deliver(held, forth)),
            asyncio.ensure_future(self._return(back, writer)),
        ]
        self._tasks.update(tasks)
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            pass
        self._links.discard(link)
        self._tasks.difference_update(tasks)
        writer.close()
        forth.close()

    async def _receive(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        held: asyncio.Queue[tuple[float, bytes]],
    ) -> None:
        data = b"."
        while data:
            try:
                data = await reader.read(65536)
            except OSError:
                data = b""
            if data and self._kind == "reset_peer":
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                writer.transport.abort()
                data = b""
            due = self._loop.time() + (3.0 if self._kind == "latency" else 0.0)
            held.put_nowait((due, data))

    async def _deliver(
        self, held: asyncio.Queue[tuple[float, bytes]], forth: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await held.get()
            if due > self._loop.time():
                try:
                    async with asyncio.timeout_at(due):
                        await self._undone.wait()
                except TimeoutError:
                    pass
            if not data:
                forth.write_eof()
                return
            forth.write(data)

    async def _return(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await back.read(65536):
                writer.write(data)
        finally:
            writer.close()
