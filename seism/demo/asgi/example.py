"""The example app: a small shop on FastAPI, uvicorn, Valkey and PostgreSQL.

Backends fail. Here that is one exception, ``BackendError``, raised where a client
library is called, and one handler that makes it a 503. Configuration comes from the
environment: DATABASE_URL and CACHE_URL.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import redis.asyncio
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from seism_middleware.asgi import SeismASGI

log = logging.getLogger("example")

TIMEOUT_S = 0.4
RETRY_AFTER_S = 30
BREAK_S = 60.0
KEPT_ORDERS = 10_000
KEPT_SESSIONS = 2


class BackendError(Exception):
    """A backend did not do its part; ``__cause__`` is what its client said."""

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        self.backend = backend


class Cache:
    """Valkey. A command is tried once: a cache that is late is of no use."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self.client: Any = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    async def run(self, *command: str) -> Any:
        """The reply to one command. Raises BackendError."""
        try:
            return await self.client.execute_command(*command)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            # What broke this connection has broken the idle ones, and the pool cannot tell.
            await self.client.connection_pool.disconnect(inuse_connections=False)
            raise BackendError("cache") from error

    async def reachable(self) -> bool:
        """Whether the cache's port takes connections."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, writer = await asyncio.open_connection(*self.address)
        except OSError:
            return False
        writer.close()
        return True


FAILURES = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
"""What asyncpg raises where the server or the way to it is to blame; timeouts are OSErrors."""


class Database:
    """PostgreSQL behind a pool. A session that fails is thrown away."""

    def __init__(self, url: str) -> None:
        self.pool = asyncpg.create_pool(url, min_size=0, max_size=16, timeout=TIMEOUT_S)

    async def open(self) -> None:
        """Make the pool ready; sessions are opened as they are needed."""
        await self.pool

    async def run(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        """The rows of one statement. Raises BackendError."""
        try:
            session = await self.pool.acquire(timeout=TIMEOUT_S)
        except FAILURES as error:
            raise BackendError("db") from error
        try:
            rows: list[asyncpg.Record] = await session.fetch(sql, *values, timeout=TIMEOUT_S)
        except FAILURES as error:
            # A session that was lost has left the pool by itself.
            with suppress(asyncpg.InterfaceError):
                session.terminate()
            raise BackendError("db") from error
        finally:
            await self.pool.release(session)
        return rows


class Housekeeping:
    """Sessions outside the pool, for statements that may take their time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._idle: list[asyncpg.Connection] = []

    async def run(self, sql: str) -> str:
        """The server's word on one statement, such as ``DELETE 3``. Raises BackendError."""
        session = None
        try:
            session = self._take() or await asyncpg.connect(self.url)
            done: str = await session.execute(sql)
        except FAILURES as error:
            if session is not None:
                session.terminate()
            raise BackendError("db") from error
        if len(self._idle) < KEPT_SESSIONS:
            self._idle.append(session)
        else:
            session.terminate()
        return done

    def _take(self) -> asyncpg.Connection | None:
        while self._idle:
            session = self._idle.pop()
            if not session.is_closed():
                return session
        return None


class Breaker:
    """Spares a database that refuses connections: no call for a while after a refusal."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._open_until = 0.0

    async def run(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        """As ``Database.run``, unless the breaker is open."""
        try:
            if time.monotonic() < self._open_until:
                raise BackendError("db") from ConnectionRefusedError("circuit breaker is open")
            return await self._db.run(sql, *values)
        except BackendError as error:
            if isinstance(error.__cause__, ConnectionRefusedError):
                self._open_until = time.monotonic() + BREAK_S
            raise


class Exporter:
    """One session per export, so that a slow partner does not keep one of the pool's."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connects: set[asyncio.Task[asyncpg.Connection]] = set()
        """The event loop itself keeps no strong reference to a task."""

    async def run(self, sql: str) -> list[asyncpg.Record]:
        """The rows of one statement. Raises BackendError."""
        connect = asyncio.create_task(asyncpg.connect(self.url))
        self.connects.add(connect)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                # A connect that is cancelled half-way leaves the server a session to time out.
                session = await asyncio.shield(connect)
                rows: list[asyncpg.Record] = await session.fetch(sql)
                await session.close()
        except FAILURES as error:
            raise BackendError("db") from error
        self.connects.discard(connect)
        return rows


class Shop:
    """What the routes share."""

    def __init__(self, db_url: str, cache_url: str) -> None:
        self.cache = Cache(cache_url)
        self.db = Database(db_url)
        self.housekeeping = Housekeeping(db_url)
        self.prices_db = Database(db_url)
        self.prices = Breaker(self.prices_db)
        self.exporter = Exporter(db_url)

    async def open(self) -> None:
        """To be called in the event loop before the first request."""
        await self.db.open()
        await self.prices_db.open()


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    """Everything that belongs to the event loop is made in it."""
    api.state.shop = shop = Shop(os.environ["DATABASE_URL"], os.environ["CACHE_URL"])
    await shop.open()
    yield


api = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """What is ordered."""

    item: int


@api.get("/__lbheartbeat__")
async def alive() -> dict[str, Any]:
    """For the load balancer: this process answers. Never asks a backend."""
    return {"status": "ok"}


@api.get("/")
async def front(request: Request) -> dict[str, Any]:
    """The cheapest items, and how often they were looked at."""
    shop: Shop = request.app.state.shop
    visits = await shop.cache.run("INCR", "visits")
    rows = await shop.db.run("SELECT id, name FROM items ORDER BY price LIMIT 5")
    return {"visits": visits, "items": [dict(row) for row in rows]}


@api.get("/items/{id}")
async def item(request: Request, id: int) -> dict[str, Any]:
    """One item."""
    shop: Shop = request.app.state.shop
    rows = await shop.db.run("SELECT name, price FROM items WHERE id = $1", id)
    if not rows:
        raise HTTPException(404)
    return dict(rows[0])


@api.get("/popular")
async def popular(request: Request) -> dict[str, Any]:
    """The visits so far."""
    shop: Shop = request.app.state.shop
    return {"visits": int(await shop.cache.run("GET", "visits") or 0)}


@api.post("/orders")
async def order(request: Request, order: Order) -> dict[str, Any]:
    """Order an item."""
    shop: Shop = request.app.state.shop
    rows = await shop.db.run("INSERT INTO orders (item) VALUES ($1) RETURNING id", order.item)
    return {"order": rows[0]["id"]}


@api.get("/stock")
async def stock(request: Request) -> dict[str, Any]:
    """How many are left. A cache that is up and breaks off is a bug of ours: no 503 for it."""
    shop: Shop = request.app.state.shop
    try:
        left = await shop.cache.client.get("stock")
    except redis.TimeoutError as error:
        raise BackendError("cache") from error
    except redis.ConnectionError as error:
        if isinstance(error.__context__, ConnectionRefusedError):  # it may be back by now
            raise BackendError("cache") from error
        if await shop.cache.reachable():
            raise
        raise BackendError("cache") from error
    return {"left": int(left or 0)}


@api.post("/housekeeping")
async def housekeeping(request: Request) -> dict[str, Any]:
    """Drop the oldest orders; a whole table may have to be read for it."""
    shop: Shop = request.app.state.shop
    oldest = f"SELECT max(id) - {KEPT_ORDERS} FROM orders"
    return {"done": await shop.housekeeping.run(f"DELETE FROM orders WHERE id < ({oldest})")}


@api.get("/prices")
async def prices(request: Request) -> dict[str, Any]:
    """All prices; asked for by every partner, so the database is spared when it is down."""
    shop: Shop = request.app.state.shop
    rows = await shop.prices.run("SELECT id, price FROM items")
    return {"prices": {row["id"]: row["price"] for row in rows}}


@api.get("/export")
async def export(request: Request) -> dict[str, Any]:
    """All items."""
    shop: Shop = request.app.state.shop
    return {"items": [dict(row) for row in await shop.exporter.run("SELECT id, name FROM items")]}


@api.exception_handler(BackendError)
async def backend_failed(request: Request, error: BackendError) -> JSONResponse:
    """The one place that answers for a backend."""
    crash_id = uuid.uuid4().hex
    log.error("backend %s: %s [%s]", error.backend, type(error.__cause__).__name__, crash_id)
    return JSONResponse(
        {"error": "a backend is not available", "crash_id": crash_id},
        503,
        {"Retry-After": str(RETRY_AFTER_S)},
    )


@api.exception_handler(Exception)
async def bug(request: Request, error: Exception) -> JSONResponse:
    """Everything else that goes wrong is ours."""
    crash_id = uuid.uuid4().hex
    log.error("unhandled [%s]", crash_id, exc_info=error)
    return JSONResponse({"error": "internal error", "crash_id": crash_id}, 500)


app = SeismASGI(api)
