"""A client that gives its server up after two failures, as those of memcached do, and an app that
answers without it. ``DEAD`` is for how many seconds: 2 are fine, 60 are far too many.
"""

import os
import time

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
DEAD = float(os.environ["DEAD"])
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)


class Breaker:
    failed = 0
    dead_until = 0.0

    def get(self, key: str) -> None:
        """Raises redis.RedisError."""
        if time.monotonic() < self.dead_until:
            raise redis.ConnectionError("all servers seem to be down")
        try:
            cache.get(key)
            self.failed = 0
        except redis.RedisError:
            self.failed += 1
            if self.failed > 1:
                self.failed, self.dead_until = 0, time.monotonic() + DEAD
            raise


breaker = Breaker()


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    try:
        breaker.get("a")
    except redis.RedisError:
        pass
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


app = SeismWSGI(serve)
