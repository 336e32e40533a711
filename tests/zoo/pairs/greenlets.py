"""gevent: a client's own bounded pool, whose places come back, or not after a failure."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

SICK = bool(os.environ["SICK"])
HOST, PORT = os.environ["CACHE"].split(":")
pool = redis.BlockingConnectionPool(
    host=HOST, port=int(PORT), protocol=2, socket_timeout=0.5, max_connections=4, timeout=1
)


def get() -> None:
    connection = pool.get_connection()
    try:
        connection.send_command("GET", "a")
        connection.read_response()
    except redis.RedisError:
        connection.disconnect()
        if not SICK:
            pool.release(connection)
        raise
    pool.release(connection)


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        get()
    except redis.RedisError:
        logging.exception("cache")
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
