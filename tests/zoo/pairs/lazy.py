"""Two backends, and connections that are opened when a request needs one (psycopg2, redis)."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable

import psycopg2
import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

SICK = bool(os.environ["SICK"])
HOST, PORT = os.environ["DB"].split(":")
CACHE_HOST, CACHE_PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(CACHE_HOST, int(CACHE_PORT), protocol=2, socket_timeout=0.5, retry=None)
mine = threading.local()


def database() -> None:
    for again in (True, False):
        try:
            if getattr(mine, "db", None) is None:
                mine.db = psycopg2.connect(host=HOST, port=PORT, user="seism", dbname="postgres")
            mine.db.cursor().execute("select 1")
            mine.db.commit()
            return
        except psycopg2.Error:
            if not SICK:
                mine.db = None
            if not again:
                raise


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        if environ["PATH_INFO"] == "/cache":
            cache.get("a")
        else:
            database()
    except (redis.RedisError, psycopg2.Error):
        logging.exception("cache or db")
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
