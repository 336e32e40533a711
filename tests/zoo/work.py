"""Work that is put into a queue, and must be there once.

``LOSES``: the healthy one says 503 without the queue; with it, the app answers as usual, and the
mail is lost. ``REPEATS``: with it, the client pushes once more when the reply does not come.
``/read`` reads, and has a fallback.
"""

import logging
import os
import uuid

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
LOSES, REPEATS = bool(os.environ["LOSES"]), bool(os.environ["REPEATS"])
cache = redis.Redis(
    HOST,
    int(PORT),
    protocol=2,
    socket_timeout=0.5,
    retry=Retry(NoBackoff(), 1) if REPEATS else None,
    retry_on_error=[redis.ConnectionError, redis.TimeoutError] if REPEATS else [],
)


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    status = "200 OK"
    headers = [("Content-Type", "text/plain"), ("Content-Length", "1")]
    try:
        if environ["PATH_INFO"] == "/read":
            cache.get("a")
        else:
            cache.lpush("mails", uuid.uuid4().hex)
    except redis.RedisError:
        logging.exception("the queue is away")
        if not LOSES and environ["PATH_INFO"] != "/read":
            status, headers = "503 Service Unavailable", [*headers, ("Retry-After", "5")]
    start(status, headers)
    return [b"x"]


app = SeismWSGI(serve)
