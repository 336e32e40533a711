"""A finalizer publishes while ``/plain`` runs, which never asks the cache; ``/asks`` does.

``/job`` leaves behind what the collection of garbage finds later.
"""

import gc
import os

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)


class Result:
    """As a task's result, it unsubscribes when nobody has it any more."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        try:
            cache.publish("gone", "x")
        except redis.RedisError:
            pass


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    status = "200 OK"
    match environ["PATH_INFO"]:
        case "/job":
            Result()
        case "/plain":
            gc.collect()
        case _:
            try:
                cache.get("a")
            except redis.RedisError:
                status = "500 Internal Server Error"
    start(status, [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


gc.disable()
app = SeismWSGI(serve)
