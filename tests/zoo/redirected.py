"""The cache's address is in the code; ``--redirect`` sends its connects to the proxy."""

import os

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    status = "200 OK"
    try:
        redis.Redis(HOST, int(PORT), protocol=2, retry=None).get("a")
    except redis.RedisError:
        status = "500 Internal Server Error"
    start(status, [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


app = SeismWSGI(serve)
