"""A small app on one cache: ``/`` behaves well, the other routes do not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Any

import redis

from seism_middleware.wsgi import SeismWSGI

host, _, port = os.environ["CACHE"].rpartition(":")
cache = redis.Redis(
    host=host, port=int(port), socket_timeout=0.3, socket_connect_timeout=0.3, retry=None
)
log = logging.getLogger("small")


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    headers = [("Content-Type", "text/plain")]
    if path == "/broken":
        start_response("500 Internal Server Error", headers)
        return [b"always"]
    if path == "/idle":
        start_response("200 OK", headers)
        return [b"no backend"]
    try:
        cache.get("key")
    except redis.RedisError:
        if path == "/weak":
            raise
        if path != "/mute":
            log.error("the cache failed")
        start_response("503 Service Unavailable", [*headers, ("Retry-After", "10")])
        return [b"later"]
    start_response("200 OK", headers)
    return [b"fine"]


app = SeismWSGI(application)
