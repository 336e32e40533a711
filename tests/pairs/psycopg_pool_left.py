"""psycopg_pool 509 without a deadline: the clients leave, and each takes a place along."""

import os

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tests.pairs.serving import asgi

HOST, PORT = os.environ["DB"].split(":")
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


app = asgi(ask, (PoolTimeout, psycopg.Error), cancels=True)
