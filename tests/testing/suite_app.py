"""A Flask app on a cache: ``SICK`` has the weakness of which its own tests know nothing."""

from __future__ import annotations

import os

import redis
from flask import Flask

SICK = os.environ.get("SICK", "")
host, _, port = os.environ["CACHE"].rpartition(":")
patience = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}
cache = redis.Redis(host=host, port=int(port), retry=None, **patience)
app = Flask(__name__)
kept: list[redis.RedisError] = []


@app.get("/count/<name>")
def count(name: str) -> tuple[str, int] | tuple[str, int, dict[str, str]]:
    try:
        cache.exists(name)
        cache.ttl(name)
    except redis.RedisError as error:
        kept.append(error)
        if SICK != "500":
            app.logger.error("the cache %s is away", os.environ["CACHE"])
            return "later", 503, {"Retry-After": "1"}
        raise
    if SICK == "sticky" and kept:
        raise RuntimeError("it failed once, and never forgets")
    return "fine", 200


@app.get("/idle")
def idle() -> str:
    return "no backend"
