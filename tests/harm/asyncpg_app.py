"""Reads from PostgreSQL through asyncpg's pool of four connections."""

from __future__ import annotations

import logging
import os
from typing import Any

import asyncpg

from seism_middleware.asgi import SeismASGI

log = logging.getLogger("app")
host, _, port = os.environ["BACKEND"].rpartition(":")
pools: list[Any] = []


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if not pools:
        pools.append(
            await asyncpg.create_pool(
                host=host, port=int(port), user="seism", database="postgres", ssl=False,
                min_size=4, max_size=4, timeout=1, command_timeout=1,
            )
        )  # fmt: skip
    status, headers, body = 200, [(b"content-type", b"text/plain")], b""
    try:
        body = str(await pools[0].fetchval("SELECT 1")).encode()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        log.error("store failed: %s", type(error).__name__)
        status, headers = 503, [*headers, (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = SeismASGI(application)
