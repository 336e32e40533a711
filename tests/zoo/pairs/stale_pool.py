"""A pool that hands out its connections in turn, and looks at each before, or does not."""

from __future__ import annotations

import logging
import os
import queue
from collections.abc import Iterable

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

SICK = bool(os.environ["SICK"])
HOST, PORT = os.environ["CACHE"].split(":")
pool: queue.Queue[redis.Connection] = queue.Queue()
for _ in range(8):
    pool.put(redis.Connection(HOST, int(PORT), protocol=2, socket_timeout=2))


def get() -> None:
    connection = pool.get()
    try:
        connection.connect()
        if not SICK and connection.can_read():  # closed, or a reply that nobody asked for
            connection.disconnect()
        connection.send_command("GET", "a")
        connection.read_response()
    except redis.RedisError:
        connection.disconnect()
        raise
    finally:
        pool.put(connection)


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        get()
    except redis.RedisError:
        logging.exception("cache")
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
