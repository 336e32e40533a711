"""A pool of two behind a server that cancels requests whose clients have gone. ``KEEPS``: it takes
a place back from a request that was cancelled; without, the place is lost.
"""

import asyncio
import logging
import os

from tests.pairs.serving import asgi

HOST, PORT = os.environ["CACHE"].split(":")
KEEPS = os.environ["KEEPS"] == "yes"
WAIT_S = 0.5
log = logging.getLogger("app")
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
places: asyncio.Queue[Connection | None] = asyncio.Queue()
for _ in range(2):
    places.put_nowait(None)


async def ping(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"PING\r\n")
    await writer.drain()
    if await reader.readline() != b"+PONG\r\n":
        raise ConnectionError("cache: no PONG")


async def ask() -> None:
    connection = await asyncio.wait_for(places.get(), WAIT_S)
    try:
        connection = connection or await asyncio.open_connection(HOST, int(PORT))
        await ping(connection)
    except asyncio.CancelledError:
        if connection is not None:
            connection[1].close()
        if KEEPS:
            places.put_nowait(None)
        raise
    except BaseException:
        if connection is not None:
            connection[1].close()
        places.put_nowait(None)
        raise
    places.put_nowait(connection)


app = asgi(ask, (OSError, TimeoutError), cancels=True)
