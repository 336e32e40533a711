"""The app of ``bench.app``: a request to ``/N`` asks its backend N times, each in turn.

``BENCH_CLIENT`` names the client, ``BENCH_CACHE`` and ``BENCH_DB`` the addresses, and
``BENCH_WRAPPED`` says whether the middleware is around the app.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "2")]
BODY = b"ok"
QUERY = "SELECT 1"

CLIENT = os.environ["BENCH_CLIENT"]
CACHE_HOST, _, CACHE_PORT = os.environ["BENCH_CACHE"].rpartition(":")
DB_HOST, _, DB_PORT = os.environ["BENCH_DB"].rpartition(":")
DSN = f"host={DB_HOST} port={DB_PORT} user=seism dbname=postgres"

Ask = Callable[[], object]
AskAsync = Callable[[], Awaitable[object]]


def redis_py() -> Ask:
    import redis

    client = redis.Redis(CACHE_HOST, int(CACHE_PORT))
    return lambda: client.get("key")


def psycopg2() -> Ask:
    import psycopg2

    connection = psycopg2.connect(DSN)
    connection.autocommit = True
    cursor = connection.cursor()
    return lambda: (cursor.execute(QUERY), cursor.fetchone())


def psycopg() -> Ask:
    import psycopg

    connection = psycopg.connect(DSN, autocommit=True)
    return lambda: connection.execute(QUERY).fetchone()


def sqlalchemy() -> Ask:
    import sqlalchemy

    url = f"postgresql+psycopg2://seism@{DB_HOST}:{DB_PORT}/postgres"
    connection = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT").connect()
    query = sqlalchemy.text(QUERY)
    return lambda: connection.execute(query).scalar()


def django() -> Ask:
    from django.db import connection, models

    class Item(models.Model):
        name = models.TextField()

        class Meta:
            app_label = "bench"
            db_table = "items"
            managed = False

    connection.ensure_connection()
    return lambda: Item.objects.get(id=1)


def _configure_django() -> None:
    from django.conf import settings

    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": DB_HOST, "PORT": DB_PORT, "USER": "seism", "NAME": "postgres",
    }  # fmt: skip
    settings.configure(DATABASES={"default": database})
    import django

    django.setup()


async def redis_asyncio() -> AskAsync:
    import redis.asyncio

    client = redis.asyncio.Redis(host=CACHE_HOST, port=int(CACHE_PORT))
    return lambda: client.get("key")


async def psycopg_asyncio() -> AskAsync:
    import psycopg

    pool = await _several(lambda: psycopg.AsyncConnection.connect(DSN, autocommit=True))
    return _in_turn(pool, lambda connection: connection.execute(QUERY))


async def asyncpg() -> AskAsync:
    import asyncpg

    pool = await _several(
        lambda: asyncpg.connect(host=DB_HOST, port=DB_PORT, user="seism", database="postgres")
    )
    return _in_turn(pool, lambda connection: connection.fetchval(QUERY))


async def _several(make: Callable[[], Awaitable[Any]]) -> list[Any]:
    return [await make() for _ in range(4)]


def _in_turn(idle: list[Any], ask: Callable[[Any], Awaitable[object]]) -> AskAsync:
    """One of the idle connections for each exchange; the load has as many clients."""

    async def asked() -> object:
        connection = idle.pop()
        try:
            return await ask(connection)
        finally:
            idle.append(connection)

    return asked


BLOCKING: dict[str, Callable[[], Ask]] = {
    "redis-py": redis_py,
    "psycopg2": psycopg2,
    "psycopg": psycopg,
    "SQLAlchemy": sqlalchemy,
    "Django ORM": django,
}
ASYNCIO: dict[str, Callable[[], Awaitable[AskAsync]]] = {
    "redis-py": redis_asyncio,
    "psycopg": psycopg_asyncio,
    "asyncpg": asyncpg,
}
_local = threading.local()
_made: list[AskAsync] = []


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Each thread has a client of its own."""
    count = int(environ["PATH_INFO"][1:])
    if count:
        if not hasattr(_local, "ask"):
            _local.ask = BLOCKING[CLIENT]()
        for _ in range(count):
            _local.ask()
    start_response("200 OK", HEADERS)
    return [BODY]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """All tasks share the client, or a few connections."""
    if scope["type"] != "http":
        raise NotImplementedError
    count = int(scope["path"][1:])
    if count:
        if not _made:
            _made.append(await ASYNCIO[CLIENT]())
        for _ in range(count):
            await _made[0]()
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


if CLIENT == "Django ORM":
    _configure_django()
if os.environ["BENCH_WRAPPED"]:
    from seism_middleware.asgi import SeismASGI
    from seism_middleware.wsgi import SeismWSGI

    wsgi, asgi = SeismWSGI(wsgi), SeismASGI(asgi)  # type: ignore[assignment]
