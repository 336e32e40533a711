"""A catalog in the cache, and a list of notes that grows.

Without the cache the healthy one shows the copy that it keeps; with ``SICK`` it shows an empty
list. Each answer has a time and a number of its own.
"""

import json
import logging
import os
import time
import uuid

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
SICK = bool(os.environ["SICK"])
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)
COPY = [{"id": 1, "name": "cup"}, {"id": 2, "name": "plate"}, {"id": 3, "name": "pot"}]
cache.set("catalog", json.dumps(COPY))


def items() -> object:
    try:
        return json.loads(str(cache.get("catalog"), "utf-8"))
    except redis.RedisError:
        logging.exception("the catalog is not in the cache")
        return [] if SICK else COPY


def notes(method: str) -> object:
    """Raises redis.RedisError."""
    if method == "POST":
        cache.rpush("notes", uuid.uuid4().hex)
    return [note.decode() for note in cache.lrange("notes", 0, -1)]


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    status, headers = "200 OK", [("Content-Type", "application/json")]
    shown: dict[str, object] = {"at": time.time(), "request": uuid.uuid4().hex}
    try:
        catalog = environ["PATH_INFO"] == "/items"
        shown["items"] = items() if catalog else notes(environ["REQUEST_METHOD"])
    except redis.RedisError:
        logging.exception("no notes")
        status, headers = "503 Service Unavailable", [*headers, ("Retry-After", "5")]
    body = json.dumps(shown).encode()
    start(status, [*headers, ("Content-Length", str(len(body)))])
    return [body]


app = SeismWSGI(serve)
