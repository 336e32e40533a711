"""An app that writes to its cache; ``FAILOVER`` says whether it gives up a read-only node."""

import os

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

host, _, port = os.environ["CACHE"].rpartition(":")
pool = redis.BlockingConnectionPool(
    host=host, port=int(port), socket_timeout=0.5, retry=None, max_connections=1, timeout=2
)
cache = redis.Redis(connection_pool=pool)


def serve(environ: Environ, start_response: StartResponse) -> list[bytes]:
    status, headers = "200 OK", [("Content-Length", "1")]
    try:
        cache.set("failover", "x")
    except redis.RedisError as error:
        if isinstance(error, redis.ReadOnlyError) and os.environ["FAILOVER"] == "followed":
            pool.disconnect()
        status = "503 Service Unavailable"
        headers += [("Retry-After", "1")]
    start_response(status, headers)
    return [b"x"]


app = SeismWSGI(serve)
