"""redis-py 4128: a parked connection that the server has closed is handed out (RESP3, hiredis)."""

import os

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

cache = redis.Redis.from_url(f"redis://{os.environ['CACHE']}/0?protocol=3&socket_timeout=0.5")


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    status = "200 OK"
    try:
        cache.get("a")
    except redis.RedisError:
        status = "500 Internal Server Error"
    start(status, [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


app = SeismWSGI(serve)
