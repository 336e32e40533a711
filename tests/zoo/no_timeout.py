"""A client without a timeout: a silent backend is waited for without end."""

import os

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=None, retry=Retry(NoBackoff(), 1))


def waits(environ: Environ, start: StartResponse) -> list[bytes]:
    status = "200 OK"
    try:
        cache.get("a")
    except redis.RedisError:
        status = "500 Internal Server Error"
    start(status, [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


app = SeismWSGI(waits)
