"""The soak's backend and clients, in a process of their own.

The backend echoes. Its port is the first line on stdout; the proxies come as the first
line on stdin: ``{"name": ["host", port], ...}``. Then each line is an order, answered with
one line: ``go`` opens connections, ``drain`` opens no more and waits until all have ended,
and answers with what was counted since ``go``.

What a client gets is compared with what it has sent. Through the proxies ``plain`` and
``delaying`` it must be all of it, through ``cutting`` the beginning of it, through
``corrupting`` it can be anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
from collections import Counter
from typing import Any

CLIENTS = 12
"""Per proxy, at the same time."""
STUCK = 45.0
"""Seconds after which a connection will not end any more."""
EXACT = ("plain", "delaying")

_RESET = struct.pack("ii", 1, 0)


class Wrong(Exception):
    """A client got what it must not get."""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        pass
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Client:
    """One connection after the other through one proxy."""

    def __init__(self, load: Load, proxy: str, number: int) -> None:
        self.load = load
        self.proxy = proxy
        self.exact = proxy in EXACT
        self.rng = random.Random(f"{load.seed} {proxy} {number}")
        self.sent = b""
        self.got = b""

    async def run(self) -> None:
        kinds = (self.talk, self.talk, self.half_close, self.abort, self.read_slowly, self.idle)
        while not self.load.draining:
            kind = self.rng.choice(kinds)
            self.count("connections")
            try:
                async with asyncio.timeout(STUCK):
                    await self.connection(kind)
                self.count(kind.__name__)
            except TimeoutError:
                self.fail(f"{kind.__name__} is stuck")
            except Wrong as wrong:
                self.fail(f"{kind.__name__}: {wrong}")
            except (OSError, EOFError):
                # Only a proxy without cutting toxics owes us the rest.
                if self.exact:
                    self.fail(f"{kind.__name__} was cut")
                self.count("cut")
            self.count("bytes_sent", len(self.sent))
            self.count("bytes_back", len(self.got))
            await asyncio.sleep(self.rng.random() * 0.1)

    async def connection(self, kind: Any) -> None:
        self.sent = self.got = b""
        reader, writer = await asyncio.open_connection(*self.load.proxies[self.proxy])
        try:
            await kind(reader, writer)
            self.check()
        except (OSError, EOFError):
            self.check()
            raise
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(self.rng.randint(1, 8)):
            await self.say(writer, self.rng.choice((1, 100, 5_000, 60_000)))
            await self.hear(reader, len(self.sent))
            await asyncio.sleep(self.rng.random() * 0.02)

    async def half_close(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.say(writer, self.rng.choice((0, 1, 1_000, 300_000)))
        writer.write_eof()
        await self.hear(reader)

    async def abort(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.say(writer, self.rng.choice((0, 1, 1_000, 300_000)))
        await asyncio.sleep(self.rng.random() * 0.1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()

    async def read_slowly(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.say(writer, 3_000_000, wait=False)
        await asyncio.sleep(self.rng.random())
        if self.rng.random() < 0.5:
            writer.transport.abort()
            return
        await self.hear(reader, len(self.sent))

    async def idle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.rng.random() * 0.3)

    async def say(self, writer: asyncio.StreamWriter, size: int, *, wait: bool = True) -> None:
        data = self.rng.randbytes(size)
        self.sent += data
        writer.write(data)
        if wait:
            await self.patiently(writer.drain())

    async def hear(self, reader: asyncio.StreamReader, size: int | None = None) -> None:
        """Read up to ``size`` bytes of this connection in all, or to its end."""
        while size is None or len(self.got) < size:
            data = await self.patiently(reader.read(65536))
            if not data:
                if size is not None or (self.exact and self.got != self.sent):
                    raise EOFError
                return
            self.got += data

    async def patiently(self, waiting: Any) -> Any:
        """A reply that was dropped on purpose never comes: give up after a while."""
        if self.proxy != "corrupting":
            return await waiting
        try:
            return await asyncio.wait_for(waiting, 2)
        except TimeoutError:
            raise EOFError from None

    def check(self) -> None:
        if self.proxy != "corrupting" and not self.sent.startswith(self.got):
            raise Wrong(f"{len(self.got)} bytes are not the beginning of {len(self.sent)}")

    def count(self, what: str, much: int = 1) -> None:
        self.load.counted[self.proxy][what] += much

    def fail(self, what: str) -> None:
        self.load.failures.append(f"{self.proxy}: {what}")


class Load:
    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.proxies: dict[str, tuple[str, int]] = {}
        self.counted: dict[str, Counter[str]] = {}
        self.failures: list[str] = []
        self.draining = False
        self.rounds = 0

    async def serve(self) -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        say(server.sockets[0].getsockname()[1])
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
        )
        self.proxies = {
            name: (host, port) for name, (host, port) in json.loads(await orders.readline()).items()
        }
        clients: list[asyncio.Task[None]] = []
        while order := (await orders.readline()).decode().strip():
            if order == "go":
                clients = self.go()
                say("going")
            else:
                self.draining = True
                await asyncio.gather(*clients)
                say({"counted": self.counted, "failures": self.failures})

    def go(self) -> list[asyncio.Task[None]]:
        self.draining = False
        self.rounds += 1
        self.counted = {name: Counter() for name in self.proxies}
        self.failures = []
        return [
            asyncio.create_task(Client(self, name, number + CLIENTS * self.rounds).run())
            for name in self.proxies
            for number in range(CLIENTS)
        ]


def say(values: Any) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    asyncio.run(Load(sys.argv[1]).serve())
