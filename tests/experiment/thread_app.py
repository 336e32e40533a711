"""An app whose threads have a connection each."""

import os
import threading

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

host, _, port = os.environ["CACHE"].rpartition(":")
mine = threading.local()


def serve(environ: Environ, start_response: StartResponse) -> list[bytes]:
    status, headers = "200 OK", [("Content-Length", "1")]
    try:
        if not hasattr(mine, "client"):
            mine.client = redis.Redis(host=host, port=int(port), socket_timeout=0.3, retry=None)
        mine.client.get("key")
    except redis.RedisError:
        status = "503 Service Unavailable"
        headers += [("Retry-After", "1")]
    start_response(status, headers)
    return [b"x"]


app = SeismWSGI(serve)
