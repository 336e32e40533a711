"""Pools of connections that the server ends: one checks what it hands out, one does not."""

import os
import queue
from collections.abc import Callable

import psycopg2

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["DB"].split(":")


class Pool:
    """Keeps each connection that was not seen to fail."""

    def __init__(self, check: bool) -> None:
        self._check = check
        self._idle: queue.LifoQueue[psycopg2.extensions.connection] = queue.LifoQueue()

    def ask(self) -> None:
        connection = self._take()
        try:
            connection.cursor().execute("SELECT 2")
        except psycopg2.Error:
            connection.close()
            raise
        self._idle.put(connection)

    def _take(self) -> psycopg2.extensions.connection:
        while not self._idle.empty():
            connection = self._idle.get()
            if not self._check or _lives(connection):
                return connection
            connection.close()
        made = psycopg2.connect(
            host=HOST, port=PORT, user="seism", dbname="postgres", connect_timeout=2
        )
        made.autocommit = True
        return made


def _lives(connection: psycopg2.extensions.connection) -> bool:
    try:
        connection.cursor().execute("SELECT 1")
    except psycopg2.Error:
        return False
    return True


POOLS = {"/naive": Pool(check=False), "/checked": Pool(check=True)}


def answer(ask: Callable[[], None]) -> str:
    try:
        ask()
    except psycopg2.Error:
        return "500 Internal Server Error"
    return "200 OK"


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    pool = POOLS.get(environ["PATH_INFO"])
    status = "404 Not Found" if pool is None else answer(pool.ask)
    start(status, [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


app = SeismWSGI(serve)
