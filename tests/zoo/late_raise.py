"""An answer that is made piece by piece: the backend is asked after its head is gone.

With ``SICK`` the exception leaves the app behind a whole 200; the healthy one logs it.
"""

import logging
import os
from collections.abc import Iterator

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
SICK = bool(os.environ["SICK"])
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)


def pieces() -> Iterator[bytes]:
    yield b"x"
    try:
        cache.get("a")
    except redis.RedisError:
        logging.exception("nothing was counted")
        if SICK:
            raise


def serve(environ: Environ, start: StartResponse) -> Iterator[bytes]:
    start(
        "200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1"), ("Connection", "close")]
    )
    return pieces()


app = SeismWSGI(serve)
