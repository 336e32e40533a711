"""redis-py 4252: with RESP3, the asyncio pool hands out a connection that the server has closed."""

import os

import redis.asyncio as redis

from tests.pairs.serving import asgi

clients: list[redis.Redis] = []


async def ask() -> None:
    if not clients:
        url = f"redis://{os.environ['CACHE']}/0?protocol=3&socket_timeout=0.5"
        clients.append(redis.Redis.from_url(url, retry=None))
    await clients[0].get("a")


app = asgi(ask, ())  # an honest 503 would be green
