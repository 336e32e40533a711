"""An asyncio pool: queries and waiters that give up in time, or never."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from seism_middleware.asgi import SeismASGI

PATIENCE_S = None if os.environ["SICK"] else 0.5
HOST, PORT = os.environ["DB"].split(":")
AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
pools: list[asyncpg.Pool] = []


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with asyncpg.create_pool(
        host=HOST, port=int(PORT), user="seism", database="postgres",
        min_size=4, max_size=4, command_timeout=PATIENCE_S, timeout=1,
    ) as pool:  # fmt: skip
        pools.append(pool)
        yield


async def serve(request: Request) -> Response:
    (pool,) = pools
    try:
        async with pool.acquire(timeout=PATIENCE_S) as connection:
            await connection.fetchval("select 1")
    except AWAY:
        logging.exception("db")
        return PlainTextResponse("away", 503, {"Retry-After": "5"})
    return PlainTextResponse("x")


app = SeismASGI(Starlette(routes=[Route("/", serve)], lifespan=lifespan))
