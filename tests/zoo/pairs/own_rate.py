"""A route that fails by itself, each fiftieth time; the sick twin also since the cache failed."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

SICK = bool(os.environ["SICK"])
HOST, PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)
asked = itertools.count(1)
failed: list[bool] = []


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/moody":
        often = 2 if SICK and failed else 50
        return text(start, "500 Internal Server Error" if next(asked) % often == 0 else "200 OK")
    try:
        cache.get("a")
        failed.clear()
    except redis.RedisError:
        failed.append(True)
        logging.exception("cache")
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
