"""An app that needs its cache at its start, in the ways that ``COLD`` names."""

import os
import time

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

host, _, port = os.environ["CACHE"].rpartition(":")
cold = os.environ["COLD"]


def connect() -> redis.Redis:
    client = redis.Redis(host=host, port=int(port), socket_timeout=0.3, retry=None)
    client.ping()
    return client


def start() -> redis.Redis | None:
    """The client; None: it is connected later, or never."""
    while True:
        try:
            return connect()
        except redis.RedisError:
            if cold == "exits":
                raise
            if cold != "waits":
                return None
            time.sleep(0.1)


clients = [start()]


def serve(environ: Environ, start_response: StartResponse) -> list[bytes]:
    try:
        if clients[0] is None and cold == "serves":
            clients[0] = connect()
        if clients[0] is None:
            raise redis.ConnectionError("not connected")
        clients[0].get("key")
        status, headers = "200 OK", [("Content-Length", "1")]
    except redis.RedisError:
        status = "503 Service Unavailable"
        headers = [("Content-Length", "1"), ("Retry-After", "1")]
    start_response(status, headers)
    return [b"x"]


app = SeismWSGI(serve)
