"""A client that marks its server dead, as memcached's do: for a second, or for a minute."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

DEAD_S = 60 if os.environ["SICK"] else 1
HOST, PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)
dead = [0.0]


def get() -> None:
    if time.monotonic() < dead[0]:
        raise redis.ConnectionError("the server is marked dead")
    try:
        cache.get("a")
    except redis.RedisError:
        dead[0] = time.monotonic() + DEAD_S
        raise


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        get()
    except redis.RedisError:
        logging.exception("cache %s", PORT)
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
