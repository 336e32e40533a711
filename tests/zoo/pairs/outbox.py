"""Orders that a queue must hear of: through an outbox in the database, or at once and perhaps."""

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
DB_HOST, DB_PORT = os.environ["DB"].split(":")
HOST, PORT = os.environ["CACHE"].split(":")
EACH_S = 0.2
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)
never = threading.Event()


def connect() -> psycopg2.extensions.connection:
    connection = psycopg2.connect(host=DB_HOST, port=DB_PORT, user="seism", dbname="postgres")
    connection.autocommit = True
    return connection


def deliver() -> None:
    """Push each row, by itself, until all are there."""
    connection = connect()
    while True:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM outbox LIMIT 20")
            for (number,) in cursor.fetchall():
                try:
                    cache.rpush("told", number)
                except redis.RedisError:
                    logging.warning("the queue (cache) is away")
                    break
                cursor.execute("DELETE FROM outbox WHERE id = %s", (number,))
        never.wait(EACH_S)


with connect() as first:
    first.cursor().execute("CREATE TABLE IF NOT EXISTS outbox (id serial PRIMARY KEY)")
first.close()
if not SICK:
    threading.Thread(target=deliver, daemon=True).start()


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        connection = connect()
        connection.cursor().execute("INSERT INTO outbox DEFAULT VALUES")
        connection.close()
    except psycopg2.Error:
        logging.exception("db")
        return text(start, AWAY)
    if SICK:
        try:
            cache.rpush("told", "order")
        except redis.RedisError:
            logging.warning("the queue (cache) is away")
    return text(start)


app = SeismWSGI(serve)
