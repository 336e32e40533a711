"""A cache that may be away: the answer comes from elsewhere then, unless somebody forgot that."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import text

FORGIVEN: type[Exception] = KeyError if os.environ["SICK"] else redis.RedisError
HOST, PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        cache.get("a")
    except FORGIVEN:
        logging.warning("the cache is away")
    return text(start)


app = SeismWSGI(serve)
