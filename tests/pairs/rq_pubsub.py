"""rq before 2.0: the thread of the worker's pub/sub ends with the first error it meets."""

import os

import redis
from rq import Worker

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

cache = redis.Redis.from_url(f"redis://{os.environ['CACHE']}/0?socket_timeout=2")
worker = Worker(["jobs"], connection=redis.Redis.from_url(f"redis://{os.environ['CACHE']}/0"))
worker.subscribe()


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    status = "200 OK"
    try:
        cache.get("a")
    except redis.RedisError:
        status = "503 Service Unavailable"
    start(status, [("Content-Type", "text/plain"), ("Content-Length", "1"), ("Retry-After", "1")])
    return [b"x"]


app = SeismWSGI(serve)
