"""Reads from a cache through redis-py's asyncio client, and gives up on it after 0.3 s.

An action has been done once, as far as anybody asks.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis

from seism_middleware.asgi import SeismASGI

log = logging.getLogger("app")
host, _, port = os.environ["BACKEND"].rpartition(":")
cache = Redis(
    connection_pool=BlockingConnectionPool(
        host=host, port=int(port), max_connections=2, decode_responses=True, timeout=2
    )
)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    key = scope["seism.request"]
    status, headers, body = 200, [(b"content-type", b"text/plain")], b""
    if scope["path"].startswith("/done/"):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"1"})
        return
    try:
        value = await asyncio.wait_for(cache.echo(key), 0.3)
        body = str(value).encode()
        if value != key:
            with open(os.environ["TRUTH"], "a", encoding="utf-8") as file:
                file.write(f"{key}\n")
    except Exception as error:
        log.error("store failed: %s", type(error).__name__)
        status, headers = 503, [*headers, (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = SeismASGI(application)
