"""A payment that is tried again where no reply comes: with a key that makes it one, or twice."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterable

import psycopg2

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

SICK = bool(os.environ["SICK"])
HOST, PORT = os.environ["DB"].split(":")
ONCE = "" if SICK else " ON CONFLICT (key) DO NOTHING"


def connect() -> psycopg2.extensions.connection:
    connection = psycopg2.connect(host=HOST, port=PORT, user="seism", dbname="postgres")
    connection.autocommit = True
    return connection


with connect() as first:
    unique = "" if SICK else "UNIQUE"
    first.cursor().execute("DROP TABLE IF EXISTS paid")
    first.cursor().execute(f"CREATE TABLE paid (id serial PRIMARY KEY, key text {unique})")
first.close()


def pay(key: str) -> None:
    connection = connect()
    try:
        connection.cursor().execute(f"INSERT INTO paid (key) VALUES (%s){ONCE}", (key,))
    finally:
        connection.close()


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    key = uuid.uuid4().hex
    try:
        try:
            pay(key)
        except psycopg2.OperationalError:
            logging.warning("db: once more")
            pay(key)
    except psycopg2.Error:
        logging.exception("db")
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
