"""An app whose only use of its backend is a consumer, ``$WHAT``; the sick one differs in one line.

``blpop``: a thread with BLPOP. ``pubsub``: redis-py's own thread. ``reader``: an asyncio task.
``listen``: LISTEN, in an asyncio task of psycopg.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

import psycopg
import redis
import redis.asyncio

from seism_middleware.wsgi import SeismWSGI

WHAT, SICK = os.environ["WHAT"], bool(os.environ["SICK"])
host, _, port = os.environ["BACKEND"].rpartition(":")
BLOCK_S, NOTICE_S, RETRY_S = 0.3, 0.6, 0.1
never = threading.Event()


def blpop() -> None:
    queue = redis.Redis(host=host, port=int(port), socket_timeout=NOTICE_S, retry=None)
    while True:
        try:
            queue.blpop(["jobs"], timeout=BLOCK_S)
        except (redis.ConnectionError, redis.TimeoutError):
            if SICK:
                return
            never.wait(RETRY_S)


def pubsub() -> None:
    # health_check_interval would not do: redis-py sends its PING, and nobody misses the answer.
    client = redis.Redis(host=host, port=int(port), protocol=2, retry=None)
    while True:
        try:
            inbox = client.pubsub()
            inbox.subscribe("news")
            heard = time.monotonic()
            while SICK or time.monotonic() - heard < NOTICE_S:
                inbox.ping()
                if inbox.get_message(timeout=BLOCK_S) is not None:
                    heard = time.monotonic()
            inbox.close()
        except (redis.ConnectionError, redis.TimeoutError):
            never.wait(RETRY_S)


async def reader() -> None:
    client = redis.asyncio.Redis(host=host, port=int(port), socket_timeout=NOTICE_S, retry=None)
    while True:
        try:
            await client.xread({"events": "$"}, block=int(BLOCK_S * 1000))
        except (redis.ConnectionError, redis.TimeoutError):
            if SICK:
                raise
            await asyncio.sleep(RETRY_S)


async def check(connection: psycopg.AsyncConnection[Any]) -> None:
    # asyncio.wait_for() would not do: cancelled, psycopg asks the server to cancel, for 5 s.
    asked = asyncio.ensure_future(connection.execute("SELECT 1"))
    done, _ = await asyncio.wait({asked}, timeout=NOTICE_S)
    if not done:
        await connection.close()
        asked.cancel()
        raise TimeoutError
    await asked


async def listen() -> None:
    where = f"host={host} port={port} user=seism dbname=postgres"
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(where, autocommit=True)
            await connection.execute("LISTEN orders")
            while True:
                async for _ in connection.notifies(timeout=BLOCK_S):
                    pass
                if not SICK:
                    await check(connection)
        except (psycopg.Error, TimeoutError):
            await asyncio.sleep(RETRY_S)


async def kept(run: Any) -> None:
    tasks = [asyncio.create_task(run())]
    await asyncio.Event().wait()
    tasks.clear()


RUNS: dict[str, Any] = {
    "blpop": blpop,
    "pubsub": pubsub,
    "reader": lambda: asyncio.run(kept(reader)),
    "listen": lambda: asyncio.run(kept(listen)),
}
threading.Thread(target=RUNS[WHAT], daemon=True).start()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"fine"]


app = SeismWSGI(application)
