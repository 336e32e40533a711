"""Jobs beside the requests: many with a connection each at the start, three of them for good."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable

import psycopg2

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

SICK = bool(os.environ["SICK"])
HOST, PORT = os.environ["DB"].split(":")
BURST_S, EACH_S = 1.5, 0.1
never = threading.Event()
started = threading.Barrier(11)


def connect() -> psycopg2.extensions.connection:
    return psycopg2.connect(host=HOST, port=PORT, user="seism", dbname="postgres")


def job(number: int) -> None:
    connection = connect()
    started.wait()
    never.wait(BURST_S)
    while number < 3:
        try:
            connection.cursor().execute("select 1")
            connection.commit()
        except psycopg2.Error:
            connection.close()
            if SICK and number:
                return
            try:
                connection = connect()
            except psycopg2.Error:
                logging.warning("job %d: the database is away", number)
        never.wait(EACH_S)
    connection.close()


for number in range(10):
    threading.Thread(target=job, args=(number,), daemon=True).start()
started.wait()


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        connection = connect()
        connection.cursor().execute("select 1")
        connection.close()
    except psycopg2.Error:
        logging.exception("db")
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
