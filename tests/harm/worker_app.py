"""An app whose worker dies of a slow cache.

``$MODE``: ``patient`` waits for the cache without end, so that its server loses patience first;
``crash`` ends its own process when the cache fails, as a fault in a C library would; ``well``
does neither.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable
from typing import Any

import redis

from seism_middleware.wsgi import SeismWSGI

log = logging.getLogger("app")
MODE = os.environ["MODE"]
host, _, port = os.environ["BACKEND"].rpartition(":")
cache = redis.Redis(
    host=host, port=int(port), retry=None, socket_timeout=None if MODE == "patient" else 0.3
)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain")]
    try:
        cache.get("key")
    except redis.RedisError:
        if MODE == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        log.error("store failed")
        start_response("503 Service Unavailable", [*headers, ("Retry-After", "1")])
        return [b"later"]
    start_response("200 OK", headers)
    return [b"fine"]


app = SeismWSGI(application)
