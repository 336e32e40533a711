"""psycopg_pool 1401: while a connection is checked, its pool swallows the request's deadline."""

import asyncio
import os

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tests.pairs.serving import asgi

HOST, PORT = os.environ["DB"].split(":")
DEADLINE = 0.5
pools: list[AsyncConnectionPool] = []


async def pool() -> AsyncConnectionPool:
    if not pools:
        made = AsyncConnectionPool(
            f"host={HOST} port={PORT} user=seism dbname=postgres",
            min_size=4,
            max_size=4,
            timeout=5,
            open=False,
            check=AsyncConnectionPool.check_connection,
        )
        pools.append(made)
        await made.open()
    return pools[0]


async def select() -> None:
    async with (await pool()).connection() as connection:
        await connection.execute("SELECT 1")


async def ask() -> None:
    await asyncio.wait_for(select(), DEADLINE)


app = asgi(ask, (TimeoutError, PoolTimeout, psycopg.Error), backend="db")
