"""A cache before the database: given up in time when it is slow, or waited for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import psycopg2
import psycopg2.pool
import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

HOST, PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(
    HOST, int(PORT), protocol=2, retry=None, socket_timeout=10 if os.environ["SICK"] else 0.2
)
DB_HOST, DB_PORT = os.environ["DB"].split(":")
pool = psycopg2.pool.ThreadedConnectionPool(
    4, 8, host=DB_HOST, port=DB_PORT, user="seism", dbname="postgres"
)


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        if cache.get("absent"):
            return text(start)
    except redis.RedisError:
        logging.warning("cache: given up, the database has it")
    connection = pool.getconn()
    try:
        connection.cursor().execute("select 1")
    except psycopg2.Error:
        logging.exception("db")
        return text(start, AWAY)
    finally:
        pool.putconn(connection)
    return text(start)


app = SeismWSGI(serve)
