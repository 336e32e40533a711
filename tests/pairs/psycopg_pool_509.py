"""psycopg_pool 509: a request that its deadline cancels takes a place of the pool with it."""

import asyncio
import contextlib
import logging
import os
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from seism_middleware.asgi import SeismASGI

HOST, PORT = os.environ["DB"].split(":")
DEADLINE = 0.25
log = logging.getLogger("app")
pools: list[AsyncConnectionPool] = []


async def pool() -> AsyncConnectionPool:
    if not pools:
        made = AsyncConnectionPool(
            f"host={HOST} port={PORT} user=seism dbname=postgres",
            min_size=2,
            max_size=2,
            timeout=1,
            open=False,
        )
        pools.append(made)
        await made.open()
    return pools[0]


async def ask() -> None:
    async with (await pool()).connection() as connection:
        await connection.execute("SELECT 1")


async def serve(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        with contextlib.suppress(Exception):
            while True:
                await send({"type": (await receive())["type"] + ".complete"})
        return
    status, headers = 200, []
    try:
        await asyncio.wait_for(ask(), DEADLINE)
    except (TimeoutError, PoolTimeout, psycopg.Error) as error:
        log.error("db: %s", type(error).__name__)
        status, headers = 503, [(b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"x"})


app = SeismASGI(serve)
