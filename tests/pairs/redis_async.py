"""redis-py of March 2023: a request that is cancelled leaves its reply to the next one."""

import os
from itertools import count

import redis.asyncio as redis

from tests.pairs.serving import asgi

HOST, PORT = os.environ["CACHE"].split(":")
clients: list[redis.Redis] = []
numbers = count()


async def ask() -> None:
    if not clients:
        clients.append(redis.Redis(host=HOST, port=int(PORT), max_connections=20))
    number = str(next(numbers))
    if await clients[0].execute_command("ECHO", number) != number.encode():
        raise ValueError("the reply of another request")


app = asgi(ask, (redis.RedisError, OSError), cancels=True)
