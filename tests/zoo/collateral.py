"""One connection for all, and one request of it is reset.

``/cart`` answers 503 to whoever fails. With ``SICK`` the connection is never opened again: nothing
hits the requests that follow, and all of them fail. ``/moody`` never asks, and fails each fifth
time by itself.
"""

import itertools
import logging
import os
import threading

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
SICK = bool(os.environ["SICK"])
EXCUSE = [("Retry-After", "5")]
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=5, retry=None, max_connections=1)
lock = threading.Lock()
asked = itertools.count(1)
broken: list[redis.ConnectionError] = []


def get() -> None:
    """Raises redis.ConnectionError."""
    with lock:
        if broken:
            raise redis.ConnectionError("the connection is broken")
        try:
            cache.get("a")
        except redis.ConnectionError as error:
            if SICK:
                broken.append(error)
            raise


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    headers = [("Content-Type", "text/plain"), ("Content-Length", "1")]
    status = "200 OK"
    if environ["PATH_INFO"] == "/cart":
        try:
            get()
        except redis.ConnectionError:
            logging.exception("the cache is away")
            status, headers = "503 Service Unavailable", headers + EXCUSE
    elif environ["PATH_INFO"] == "/moody" and next(asked) % 5 == 0:
        status = "500 Internal Server Error"
    start(status, headers)
    return [b"x"]


app = SeismWSGI(serve)
