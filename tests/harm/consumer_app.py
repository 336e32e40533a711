"""An app with a consumer beside its requests, which ``$MODE`` tells how to survive its backend.

``dies``: the thread ends by an exception. ``retries``: it connects again. ``replaced``: another one
takes its place. ``forgotten``: a task that the app keeps and never awaits.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

import redis
import redis.asyncio

from seism_middleware.wsgi import SeismWSGI

MODE = os.environ["MODE"]
host, _, port = os.environ["BACKEND"].rpartition(":")
cache = redis.Redis(host=host, port=int(port), socket_timeout=5)
kept: list[Any] = []


def consume() -> None:
    queue = redis.Redis(host=host, port=int(port), retry=None)
    while True:
        try:
            queue.blpop(["jobs"], timeout=0.1)
        except redis.ConnectionError:
            if MODE != "retries":
                raise
            time.sleep(0.05)


def supervise() -> None:
    while True:
        thread = threading.Thread(target=consume, daemon=True)
        thread.start()
        thread.join()
        if MODE != "replaced":
            return
        time.sleep(0.05)


async def read() -> None:
    queue = redis.asyncio.Redis(host=host, port=int(port), retry=None)
    while True:
        await queue.blpop(["jobs"], timeout=0.1)


async def main() -> None:
    kept.append(asyncio.create_task(read()))
    await asyncio.Event().wait()


def begin() -> None:
    if MODE == "forgotten":
        asyncio.run(main())
    else:
        supervise()


threading.Thread(target=begin, daemon=True).start()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    cache.get("key")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"fine"]


app = SeismWSGI(application)
