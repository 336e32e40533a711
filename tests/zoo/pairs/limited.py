"""A rate limit: while the cache is away, requests are refused with 429, or break."""

from __future__ import annotations

import os
from collections.abc import Iterable

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import text

REFUSAL = "500 Internal Server Error" if os.environ["SICK"] else "429 Too Many Requests"
HOST, PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        cache.incr("asked")
    except redis.RedisError:
        return text(start, REFUSAL)
    return text(start)


app = SeismWSGI(serve)
