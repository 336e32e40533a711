"""An app with one connection; ``RECONNECT`` says whether its lock outlives a failed login."""

import os
import threading

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

host, _, port = os.environ["CACHE"].rpartition(":")
connecting = threading.Lock()
clients: list[redis.Redis] = []


def connect() -> redis.Redis:
    client = redis.Redis(host=host, port=int(port), socket_timeout=0.3, retry=None)
    client.ping()
    return client


def client() -> redis.Redis:
    if not connecting.acquire(timeout=0.5):
        raise redis.ConnectionError("somebody else is connecting")
    try:
        if not clients:
            clients.append(connect())
    except redis.RedisError:
        if os.environ["RECONNECT"] == "released":
            connecting.release()
        raise
    connecting.release()
    return clients[0]


def serve(environ: Environ, start_response: StartResponse) -> list[bytes]:
    status, headers = "200 OK", [("Content-Length", "1")]
    try:
        client().get("key")
    except redis.RedisError:
        clients.clear()
        status = "503 Service Unavailable"
        headers += [("Retry-After", "1")]
    start_response(status, headers)
    return [b"x"]


app = SeismWSGI(serve)
