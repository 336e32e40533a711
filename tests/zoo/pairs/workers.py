"""Several processes forked from one: a failure is answered, or ends the worker that met it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

SICK = bool(os.environ["SICK"])
HOST, PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        cache.get("a")
    except redis.RedisError:
        logging.exception("cache")
        if SICK:
            os._exit(3)
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
