"""A pool that opens its connections at the start, and all of them again, or one only."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Iterable

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

SICK = bool(os.environ["SICK"])
HOST, PORT = os.environ["CACHE"].split(":")
SIZE, RETRY_S = 6, 0.2
pool: queue.LifoQueue[redis.Connection] = queue.LifoQueue()
lost: queue.SimpleQueue[redis.Connection] = queue.SimpleQueue()
never = threading.Event()


def refill() -> None:
    """Open again what has been lost, each after the one before, by itself."""
    opened = 0
    while True:
        connection = lost.get()
        while not (SICK and opened):
            try:
                connection.connect()
                pool.put(connection)
                opened += 1
                break
            except redis.RedisError:
                never.wait(RETRY_S)


for _ in range(SIZE):
    pool.put(redis.Connection(HOST, int(PORT), protocol=2, socket_timeout=2))
for kept in list(pool.queue):
    kept.connect()
threading.Thread(target=refill, daemon=True).start()


def get() -> None:
    """Raises redis.RedisError, also where the pool stays empty."""
    try:
        connection = pool.get(timeout=0.3)
    except queue.Empty:
        raise redis.ConnectionError("the pool is empty") from None
    try:
        if connection.can_read():
            raise redis.ConnectionError("the server has closed it")
        connection.send_command("GET", "a")
        connection.read_response()
        pool.put(connection)
    except redis.RedisError:
        connection.disconnect()
        lost.put(connection)
        raise


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        get()
    except redis.RedisError:
        logging.exception("cache")
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
