"""libpq's own words name the database by its address; the sick twin logs none of them."""

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
mine = threading.local()


def ask() -> None:
    try:
        mine.db.cursor().execute("select 1")
        mine.db.commit()
    except (psycopg2.Error, AttributeError):
        mine.db = psycopg2.connect(host=HOST, port=PORT, user="seism", dbname="postgres")
        mine.db.cursor().execute("select 1")


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        ask()
    except psycopg2.Error:
        logging.error("no answer", exc_info=not SICK)
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
