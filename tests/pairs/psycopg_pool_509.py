"""psycopg_pool 509: a request that its deadline cancels takes a place of the pool with it."""

import asyncio

import psycopg
from psycopg_pool import PoolTimeout

from tests.pairs import psycopg_pool_left
from tests.pairs.serving import asgi

DEADLINE = 0.25


async def ask() -> None:
    await asyncio.wait_for(psycopg_pool_left.ask(), DEADLINE)


app = asgi(ask, (TimeoutError, PoolTimeout, psycopg.Error), backend="db")
