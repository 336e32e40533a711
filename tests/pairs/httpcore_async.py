"""httpcore before 0.18: a cancelled request takes its place of the pool with it."""

import os

import httpcore

from tests.pairs.serving import asgi

LIMITS = {"connect": 1, "read": 1, "write": 1, "pool": 1}
pools: list[httpcore.AsyncConnectionPool] = []


async def ask() -> None:
    if not pools:
        pools.append(httpcore.AsyncConnectionPool(max_connections=2))
    await pools[0].request("GET", f"http://{os.environ['API']}/", extensions={"timeout": LIMITS})


app = asgi(
    ask, (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError), cancels=True
)
