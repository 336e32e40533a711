"""No session without the cache. The healthy one says so; with ``SICK`` it sends its users, who
were logged in, to the login, and whatever they had written is lost.
"""

import logging
import os

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
SICK = bool(os.environ["SICK"])
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)


def session(environ: Environ, start: StartResponse) -> list[bytes]:
    status, headers = "200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1")]
    try:
        cache.get("session")
    except redis.RedisError:
        logging.exception("no session")
        status, more = "503 Service Unavailable", ("Retry-After", "5")
        if SICK:
            status, more = "302 Found", ("Location", "/login?next=/session")
        headers.append(more)
    start(status, headers)
    return [b"x"]


app = SeismWSGI(session)
