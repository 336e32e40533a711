"""One client with a read timeout and one without, on connections that the peer has left."""

import os
from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
CLIENTS = {
    path: redis.Redis(
        HOST, int(PORT), protocol=2, socket_timeout=timeout, retry=Retry(NoBackoff(), 1)
    )
    for path, timeout in (("/bounded", 0.2), ("/unbounded", None))
}


def answer(get: Callable[[str], object]) -> str:
    try:
        get("a")
    except redis.RedisError:
        return "500 Internal Server Error"
    return "200 OK"


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    client = CLIENTS.get(environ["PATH_INFO"])
    status = "404 Not Found" if client is None else answer(client.get)
    start(status, [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


app = SeismWSGI(serve)
