"""Each request sends its own id to the backend: what the tap reads is the truth."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import asyncpg
import redis.asyncio

from seism_middleware.asgi import SeismASGI
from seism_middleware.contract import ENVIRON_REQUEST

HOST, _, PORT = os.environ["BACKEND"].rpartition(":")
CLIENT = os.environ["CLIENT"]

cache = redis.asyncio.Redis(host=HOST, port=int(PORT), socket_timeout=5, retry=None)
pools: list[asyncpg.Pool] = []
making = asyncio.Lock()


async def through_asyncpg(key: str) -> None:
    async with making:
        if not pools:
            pools.append(
                await asyncpg.create_pool(
                    f"postgresql://seism@{HOST}:{PORT}/postgres",
                    min_size=1, max_size=32, command_timeout=5, ssl=False,
                )
            )  # fmt: skip
    async with pools[0].acquire() as connection:
        assert await connection.fetchval(f"select '<{key}>'") == f"<{key}>"


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    key = scope[ENVIRON_REQUEST]
    try:
        if scope["path"] == "/idle":
            pass
        elif CLIENT == "asyncpg":
            await through_asyncpg(key)
        else:
            await cache.set(f"<{key}>", key)
        status = 200
    except Exception as error:
        status = 503
        print(f"{key}: {error!r}", flush=True)
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": key.encode()})


app = SeismASGI(application)
