"""aiohttp 9670: a waiter that times out takes the wake-up of the next along."""

import os

import aiohttp

from tests.pairs.serving import asgi

sessions: list[aiohttp.ClientSession] = []


async def ask() -> None:
    if not sessions:
        connector = aiohttp.TCPConnector(limit=2)
        timeout = aiohttp.ClientTimeout(total=0.3)
        sessions.append(aiohttp.ClientSession(connector=connector, timeout=timeout))
    async with sessions[0].get(f"http://{os.environ['API']}/") as answer:
        await answer.read()


app = asgi(ask, (aiohttp.ClientError, TimeoutError))
