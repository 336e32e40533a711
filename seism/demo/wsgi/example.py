"""The example app: a small shop on Pyramid, waitress, Valkey and PostgreSQL.

Backends fail. Here that is one exception, ``BackendError``, raised where a client
library is called, and one view that makes it a 503. Configuration comes from the
environment: DATABASE_URL, CACHE_URL and, in seconds, TIMEOUT_S.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pg8000.exceptions
import pg8000.native
import redis
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from redis.backoff import NoBackoff
from redis.retry import Retry

log = logging.getLogger("example")

TIMEOUT_S = float(os.environ.get("TIMEOUT_S", "0.4"))
RETRY_AFTER_S = 30
BREAK_S = 60.0
KEPT_SESSIONS = 2


class BackendError(Exception):
    """A backend did not do its part; ``__cause__`` is what its client said."""

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        self.backend = backend


UNWELL_CACHE = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.OutOfMemoryError,
)
"""Replies that blame the server's state, and not the command, and none at all."""


class Cache:
    """Valkey. A command is tried once: a cache that is late is of no use."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self.client: Any = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    def run(self, *command: str) -> Any:
        """The reply to one command. Raises BackendError."""
        try:
            return self.client.execute_command(*command)
        except UNWELL_CACHE as error:
            raise BackendError("cache") from error

    def reachable(self) -> bool:
        """Whether the cache's port takes connections."""
        try:
            socket.create_connection(self.address, TIMEOUT_S).close()
        except OSError:
            return False
        return True


UNWELL = ("08", "25006", "40", "53", "57", "58")
"""PostgreSQL's error codes, or their classes, that blame the server's state and not the statement;
25006 comes from a server that has become a standby."""


@contextmanager
def reported() -> Iterator[None]:
    """A server that says that it is not well is as good as one that hangs up."""
    try:
        yield
    except pg8000.exceptions.DatabaseError as error:
        if not error.args[0].get("C", "").startswith(UNWELL):
            raise
        raise ConnectionAbortedError("the server is not well") from error


@dataclass
class Session:
    """A database session and the connection that it runs over."""

    driver: pg8000.native.Connection
    sock: Any

    def run(self, sql: str, **values: Any) -> list[list[Any]]:
        """The rows of one statement. Raises one of ``Database.FAILURES``."""
        with reported():
            return self.driver.run(sql, **values) or []


class Database:
    """PostgreSQL: sessions that are kept, and thrown away when one of them fails.

    ``timeout`` is for each wait on the network, in seconds; None waits.
    """

    FAILURES = (OSError, pg8000.exceptions.InterfaceError)

    def __init__(self, url: str, timeout: float | None = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self.user = parts.username or "postgres"
        self.name = parts.path.lstrip("/") or self.user
        self.timeout = timeout
        self._idle: list[Session] = []
        self._lock = threading.Lock()

    def connect(self) -> socket.socket:
        """A new TCP connection to the server."""
        return socket.create_connection(self.address, self.timeout)

    def log_in(self, sock: Any) -> pg8000.native.Connection:
        """The driver, in a new session over ``sock``; it closes ``sock`` if it gets none."""
        with reported():
            return pg8000.native.Connection(
                self.user, database=self.name, sock=sock, ssl_context=False
            )

    def run(self, sql: str, **values: Any) -> list[list[Any]]:
        """The rows of one statement. Raises BackendError."""
        try:
            session = self._take() or self.open()
        except self.FAILURES as error:
            raise BackendError("db") from error
        try:
            rows = session.run(sql, **values)
        except self.FAILURES as error:
            self._discard(session)
            raise BackendError("db") from error
        except BaseException:
            self._discard(session)
            raise
        self._keep(session)
        return rows

    def open(self) -> Session:
        """A new session. Raises one of ``FAILURES``."""
        sock = self.connect()
        try:
            return Session(self.log_in(sock), sock)
        except BaseException:
            self._hang_up(sock)
            raise

    def _take(self) -> Session | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, session: Session) -> None:
        with self._lock:
            if len(self._idle) < KEPT_SESSIONS:
                self._idle.append(session)
                return
        self._close(session)

    def _discard(self, session: Session) -> None:
        """Close ``session`` and all idle ones: what broke one has broken them."""
        with self._lock:
            broken, self._idle = [session, *self._idle], []
        for one in broken:
            self._close(one)

    def _close(self, session: Session) -> None:
        with suppress(*self.FAILURES):
            session.driver.close()
        self._hang_up(session.sock)

    def _hang_up(self, sock: socket.socket) -> None:
        # A traceback may keep the driver's stream alive, and with it the open descriptor.
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()


class Breaker:
    """Spares a database that refuses connections: no call for a while after a refusal."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._open_until = 0.0

    def run(self, sql: str, **values: Any) -> list[list[Any]]:
        """As ``Database.run``, unless the breaker is open."""
        try:
            if time.monotonic() < self._open_until:
                raise BackendError("db") from ConnectionRefusedError("circuit breaker is open")
            return self._db.run(sql, **values)
        except BackendError as error:
            if isinstance(error.__cause__, ConnectionRefusedError):
                self._open_until = time.monotonic() + BREAK_S
            raise


class Metered:
    """A socket whose byte counters can still be read when the driver has closed it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, mode: Any) -> Any:
        """The stream that the driver works on."""
        return self._sock.makefile(mode)

    def close(self) -> None:
        """The driver is done; ``finish`` closes."""

    def finish(self) -> int:
        """Close the socket; returns how many bytes were received over it."""
        info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
        self._sock.close()
        received: int = struct.unpack_from("=Q", info, 128)[0]
        return received


class Shop:
    """The views and what they share."""

    def __init__(self, db_url: str, cache_url: str) -> None:
        self.cache = Cache(cache_url)
        self.db = Database(db_url)
        self.history_db = Database(db_url, timeout=None)
        self.prices_db = Breaker(Database(db_url))
        self.transfers: set[Metered] = set()

    def front(self, request: Request) -> dict[str, Any]:
        """The cheapest items, and how often they were looked at."""
        visits = self.cache.run("INCR", "visits")
        rows = self.db.run("SELECT id, name FROM items ORDER BY price LIMIT 5")
        return {"visits": visits, "items": [{"id": row[0], "name": row[1]} for row in rows]}

    def item(self, request: Request) -> dict[str, Any]:
        """One item."""
        rows = self.db.run(
            "SELECT name, price FROM items WHERE id = :id", id=request.matchdict["id"]
        )
        if not rows:
            raise HTTPNotFound()
        return {"name": rows[0][0], "price": rows[0][1]}

    def popular(self, request: Request) -> dict[str, Any]:
        """The visits so far."""
        return {"visits": int(self.cache.run("GET", "visits") or 0)}

    def order(self, request: Request) -> dict[str, Any]:
        """Order an item."""
        rows = self.db.run(
            "INSERT INTO orders (item, key) VALUES (:item, :key) RETURNING id",
            item=request.json_body["item"],
            key=request.headers.get("Idempotency-Key"),
        )
        return {"order": rows[0][0]}

    def ordered(self, request: Request) -> Response:
        """How often an order was made."""
        rows = self.db.run(
            "SELECT count(*) FROM orders WHERE key = :key", key=request.matchdict["key"]
        )
        return Response(str(rows[0][0]), content_type="text/plain")

    def stock(self, request: Request) -> dict[str, Any]:
        """How many are left. A cache that is up and breaks off is a bug of ours: no 503 for it."""
        try:
            left = self.cache.client.get("stock")
        except redis.TimeoutError as error:
            raise BackendError("cache") from error
        except redis.ConnectionError as error:
            if isinstance(error.__context__, ConnectionRefusedError):  # it may be back by now
                raise BackendError("cache") from error
            if self.cache.reachable():
                raise
            raise BackendError("cache") from error
        return {"left": int(left or 0)}

    def history(self, request: Request) -> dict[str, Any]:
        """The orders by item; the whole table is read, so this one may take its time."""
        rows = self.history_db.run("SELECT item, count(*) FROM orders GROUP BY item")
        return {"orders": dict(rows)}

    def prices(self, request: Request) -> dict[str, Any]:
        """All prices; asked for by every partner, so the database is spared when it is down."""
        return {"prices": dict(self.prices_db.run("SELECT id, price FROM items"))}

    def export(self, request: Request) -> dict[str, Any]:
        """All items; partners pay by the byte, so the bytes are counted."""
        try:
            transfer = Metered(self.db.connect())
        except OSError as error:
            raise BackendError("db") from error
        self.transfers.add(transfer)
        try:
            session = Session(self.db.log_in(transfer), transfer)
            rows = session.run("SELECT id, name FROM items")
            session.driver.close()
        except (ConnectionError, pg8000.exceptions.InterfaceError) as error:
            self._finish(transfer)
            raise BackendError("db") from error
        except TimeoutError as error:
            raise BackendError("db") from error
        return {"items": dict(rows), "bytes": self._finish(transfer)}

    def _finish(self, transfer: Metered) -> int:
        self.transfers.discard(transfer)
        return transfer.finish()


def alive(request: Request) -> dict[str, Any]:
    """For the load balancer: this process answers. Never asks a backend."""
    return {"status": "ok"}


def _failed(request: Request, status: int, error: str) -> tuple[Response, str]:
    crash_id = uuid.uuid4().hex
    request.response.status_int = status
    request.response.json_body = {"error": error, "crash_id": crash_id}
    return request.response, crash_id


def backend_failed(error: BackendError, request: Request) -> Response:
    """The one place that answers for a backend."""
    response, crash_id = _failed(request, 503, "a backend is not available")
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    log.error("backend %s: %s [%s]", error.backend, type(error.__cause__).__name__, crash_id)
    return response


def bug(error: Exception, request: Request) -> Response:
    """Everything else that goes wrong is ours."""
    response, crash_id = _failed(request, 500, "internal error")
    log.error("unhandled [%s]", crash_id, exc_info=error)
    return response


def main(global_config: dict[str, str], **settings: str) -> Any:
    """The WSGI application, for PasteDeploy."""
    import annex

    logging.basicConfig(level=logging.INFO)
    urls = os.environ["DATABASE_URL"], os.environ["CACHE_URL"]
    shop = Shop(*urls)
    with Configurator(settings=settings) as config:
        for name, path, view in (
            ("alive", "/__lbheartbeat__", alive),
            ("front", "/", shop.front),
            ("item", r"/items/{id:\d+}", shop.item),
            ("popular", "/popular", shop.popular),
            ("order", "/orders", shop.order),
            ("ordered", "/orders/{key}", shop.ordered),
            ("stock", "/stock", shop.stock),
            ("history", "/history", shop.history),
            ("prices", "/prices", shop.prices),
            ("export", "/export", shop.export),
        ):
            config.add_route(name, path)
            config.add_view(view, route_name=name, renderer="json")
        annex.include(config, shop, *urls)
        config.add_exception_view(backend_failed, context=BackendError)
        config.add_exception_view(bug, context=Exception)
        return config.make_wsgi_app()
