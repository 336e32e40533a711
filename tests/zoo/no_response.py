"""A ConnectionRefusedError leaves the app; gunicorn takes it for its client's and sends nothing."""

import os

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)


def raises(environ: Environ, start: StartResponse) -> list[bytes]:
    try:
        cache.get("a")
    except redis.ConnectionError as error:
        raise ConnectionRefusedError(111, str(error)) from error
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


app = SeismWSGI(raises)
