"""What was built on to the shop later, in a hurry, by teams that each had their own way."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import example
from example import BackendError, Database, Session
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

log = logging.getLogger("annex")

PATIENCE_S = 1.5
SESSIONS = 2


class Lines:
    """Connections to Valkey without a client library: faster, for one command with one reply."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()

    def number(self, *command: str) -> int:
        """The reply to a command that has a number for one. Raises BackendError."""
        line = None
        try:
            line = self._take() or socket.create_connection(self.address, example.TIMEOUT_S)
            line.sendall(" ".join(command).encode() + b"\r\n")
            reply = self._read(line)
        except TimeoutError as error:
            # Only late: there is nothing wrong with the connection.
            if line is not None:
                self._keep(line)
            raise BackendError("cache") from error
        except OSError as error:
            self._discard(line)
            raise BackendError("cache") from error
        self._keep(line)
        return int(reply[1:])

    @staticmethod
    def _read(line: socket.socket) -> bytes:
        reply = b""
        while not reply.endswith(b"\r\n"):
            more = line.recv(100)
            if not more:
                raise ConnectionResetError("the cache has hung up")
            reply += more
        if not reply.startswith(b":"):
            raise ConnectionError("the cache did not answer with a number")
        return reply

    def _take(self) -> socket.socket | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, line: socket.socket) -> None:
        with self._lock:
            self._idle.append(line)

    def _discard(self, line: socket.socket | None) -> None:
        """Close it, and those that wait: they are broken as well."""
        with self._lock:
            broken, self._idle = self._idle, []
        for each in (line, *broken):
            if each is not None:
                each.close()


class Sessions:
    """A fixed number of database sessions, opened for the first request: logging in is slow."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._missing = SESSIONS
        self._idle: queue.LifoQueue[Session] = queue.LifoQueue()

    def run(self, sql: str) -> list[list[Any]]:
        """The rows of one statement. Raises BackendError."""
        try:
            self._open()
            session = self._idle.get(timeout=example.TIMEOUT_S)
        except (queue.Empty, *Database.FAILURES) as error:
            raise BackendError("db") from error
        try:
            rows: list[list[Any]] = session.run(sql)
            return rows
        except Database.FAILURES as error:
            raise BackendError("db") from error
        finally:
            self._idle.put(session)

    def _open(self) -> None:
        with self._lock:
            while self._missing:
                self._idle.put(self._db.open())
                self._missing -= 1


class Annex:
    """The views, on what the shop has."""

    def __init__(self, shop: example.Shop, db_url: str, cache_url: str) -> None:
        self.db, self.cache = shop.db, shop.cache
        self.lines = Lines(cache_url)
        self.sessions = Sessions(Database(db_url))
        self.accounts_url = db_url

    def basket(self, request: Request) -> dict[str, Any]:
        """A new basket's number; the busiest page there is."""
        return {"basket": self.lines.number("INCR", "baskets")}

    def bestsellers(self, request: Request) -> dict[str, Any]:
        """What sells; it is on the front page of partners, so it must not give up."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                rows = self.db.run("SELECT id, name FROM items ORDER BY id DESC LIMIT 5")
            except BackendError:
                if time.monotonic() > until:
                    raise
            else:
                return {"items": dict(rows)}

    def pay(self, request: Request) -> dict[str, Any]:
        """Pay for an item; a payment that fails is tried once more before we lose it."""
        values = {"key": request.headers.get("Idempotency-Key"), "item": request.json_body["item"]}
        sql = "INSERT INTO payments (key, item) VALUES (:key, :item)"
        try:
            self.db.run(sql, **values)
        except BackendError:
            self.db.run(sql, **values)
        return {"paid": True}

    def paid(self, request: Request) -> Response:
        """How often a payment was made."""
        rows = self.db.run(
            "SELECT count(*) FROM payments WHERE key = :key", key=request.matchdict["key"]
        )
        return Response(str(rows[0][0]), content_type="text/plain")

    def reviews(self, request: Request) -> dict[str, Any]:
        """How many reviews there are."""
        try:
            return {"reviews": self.cache.run("LLEN", "reviews")}
        except BackendError as error:
            log.error("backend %s: %s", error.backend, type(error.__cause__).__name__)
            request.response.status_int = 503
            return {"error": "no reviews at the moment"}

    def invoices(self, request: Request) -> dict[str, Any]:
        """How many invoices there are to write."""
        try:
            return {"invoices": self.db.run("SELECT count(*) FROM orders")[0][0]}
        except BackendError as error:
            log.error("backend %s: nothing from %s", error.backend, self.accounts_url)
            request.response.status_int = 503
            request.response.headers["Retry-After"] = str(example.RETRY_AFTER_S)
            return {"error": "no invoices at the moment"}

    def shipping(self, request: Request) -> dict[str, Any]:
        """The last order that is to be shipped."""
        return {"last": self.sessions.run("SELECT max(id) FROM orders")[0][0]}


def include(config: Configurator, shop: example.Shop, db_url: str, cache_url: str) -> None:
    """Add the routes."""
    annex = Annex(shop, db_url, cache_url)
    for name, path, view in (
        ("basket", "/basket", annex.basket),
        ("bestsellers", "/bestsellers", annex.bestsellers),
        ("pay", "/payments", annex.pay),
        ("paid", "/payments/{key}", annex.paid),
        ("reviews", "/reviews", annex.reviews),
        ("invoices", "/invoices", annex.invoices),
        ("shipping", "/shipping", annex.shipping),
    ):
        config.add_route(name, path)
        config.add_view(view, route_name=name, renderer="json")
