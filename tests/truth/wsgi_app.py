"""Each request sends its own id to the backend: what the tap reads is the truth."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterable
from typing import Any

import pg8000.dbapi
import pymysql
import redis

from seism_middleware.contract import ENVIRON_REQUEST
from seism_middleware.wsgi import SeismWSGI

HOST, _, PORT = os.environ["BACKEND"].rpartition(":")
CLIENT = os.environ["CLIENT"]

cache = redis.Redis(host=HOST, port=int(PORT), socket_timeout=5, max_connections=40, retry=None)
idle: queue.LifoQueue[Any] = queue.LifoQueue()


def through_redis(key: str) -> None:
    cache.set(f"<{key}>", key)


def through_pg8000(key: str) -> None:
    try:
        connection = idle.get_nowait()
    except queue.Empty:
        connection = pg8000.dbapi.connect(
            user="seism", database="postgres", host=HOST, port=int(PORT), timeout=5
        )
        connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(f"select '<{key}>'")
    assert cursor.fetchone() == [f"<{key}>"]
    idle.put(connection)


def through_pymysql(key: str) -> None:
    """Over TLS if ``CA`` names a file."""
    try:
        connection = idle.get_nowait()
    except queue.Empty:
        ca = os.environ.get("CA")
        tls = {"ssl": {"ca": ca, "check_hostname": True}} if ca else {"ssl_disabled": True}
        connection = pymysql.connect(
            user="native", password="secret", database="test", host=HOST, port=int(PORT),
            read_timeout=5, autocommit=True, **tls,
        )  # fmt: skip
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"select '<{key}>' from items limit 1")
            assert cursor.fetchone() == (f"<{key}>",)
    except Exception:
        connection.close()
        raise
    idle.put(connection)


THROUGH = {"redis": through_redis, "pg8000": through_pg8000, "pymysql": through_pymysql}


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    key = environ[ENVIRON_REQUEST]
    try:
        if environ["PATH_INFO"] != "/idle":
            THROUGH[CLIENT](key)
        status = "200 OK"
    except Exception as error:
        status = "503 Service Unavailable"
        print(f"{key}: {error!r}", flush=True)
    start_response(status, [("Content-Type", "text/plain")])
    return [key.encode()]


app = SeismWSGI(application)
