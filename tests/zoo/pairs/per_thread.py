"""A connection of each thread, kept from request to request; the sick twin forgets to close it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

SICK = bool(os.environ["SICK"])
HOST, PORT = os.environ["CACHE"].split(":")
mine = threading.local()
forgotten = []


def ask() -> None:
    if getattr(mine, "cache", None) is None:
        mine.cache = redis.Connection(HOST, int(PORT), protocol=2, socket_timeout=0.3)
    mine.cache.send_command("GET", "a")
    mine.cache.read_response(disconnect_on_error=False)


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        ask()
    except redis.RedisError:
        logging.exception("cache")
        connection, mine.cache = mine.cache, None
        forgotten.append(connection) if SICK else connection.disconnect()
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
