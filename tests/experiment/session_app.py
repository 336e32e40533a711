"""An app with logins: sessions that a server keeps, CSRF tokens, bearer tokens and HTTP basic.

``SESSIONS`` is where they are kept: ``memory``, or the address of a Redis.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections.abc import Callable, Iterable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from seism.experiment.user import basic
from seism_middleware.wsgi import SeismWSGI

PASSWORD = os.environ.get("PASSWORD", "s3cret-pa55")
WHERE = os.environ.get("SESSIONS", "memory")


class Memory:
    """Sessions that nothing can take away, except ``POST /forget``."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def add(self, name: str) -> None:
        self.names.add(name)

    def has(self, name: str) -> bool:
        return name in self.names

    def forget(self) -> None:
        self.names.clear()


class Cache:
    """Sessions in a cache: one that is away knows nobody."""

    def __init__(self, where: str) -> None:
        import redis

        host, _, port = where.rpartition(":")
        patience = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}
        self.error = redis.RedisError
        self.redis = redis.Redis(host=host, port=int(port), retry=None, **patience)

    def add(self, name: str) -> None:
        self.redis.set(f"session:{name}", "1")

    def has(self, name: str) -> bool:
        try:
            return bool(self.redis.exists(f"session:{name}"))
        except self.error:
            return False

    def forget(self) -> None:
        self.redis.flushall()


sessions: Any = Memory() if WHERE == "memory" else Cache(WHERE)
HTML = ("Content-Type", "text/html")
orders: dict[str, str] = {}
numbers = itertools.count(1)
Answer = tuple[str, list[tuple[str, str]], str]


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    key = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    size = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(size).decode("utf-8", "replace")
    cookies = {k: v.value for k, v in SimpleCookie(environ.get("HTTP_COOKIE", "")).items()}
    status, headers, text = ROUTES.get(key, by_id)(environ, cookies, body)
    own = [] if any(name == "Content-Type" for name, _ in headers) else [HTML]
    start_response(status, [*own, *headers])
    return [text.encode()]


def page(environ: Any, cookies: Any, body: str) -> Answer:
    token = secrets.token_hex(8)
    field = f'<form><input type="hidden" name="token" value="{token}"></form>'
    return "200 OK", [("Set-Cookie", f"csrf={token}; Path=/; SameSite=Lax")], field


def login(environ: Any, cookies: Any, body: str) -> Answer:
    given = {key: values[0] for key, values in parse_qs(body).items()}
    if not cookies.get("csrf") or given.get("token") != cookies["csrf"]:
        return "403 Forbidden", [], "csrf"
    if given.get("password") != PASSWORD:
        return "200 OK", [], "wrong password"
    name = secrets.token_hex(8)
    sessions.add(name)
    fresh = [("Set-Cookie", f"session={name}; HttpOnly"), ("Set-Cookie", f"csrf={name[::-1]}")]
    return "302 Found", [("Location", "/me"), *fresh], ""


def me(environ: Any, cookies: Any, body: str) -> Answer:
    if not sessions.has(cookies.get("session", "")):
        return "302 Found", [("Location", "/login?next=/me")], ""
    return "200 OK", [], "it is you"


def save(environ: Any, cookies: Any, body: str) -> Answer:
    known = sessions.has(cookies.get("session", "")) and cookies.get("csrf")
    good = known and environ.get("HTTP_X_CSRF") == cookies["csrf"]
    return ("200 OK" if good else "403 Forbidden"), [], "saved"


def token(environ: Any, cookies: Any, body: str) -> Answer:
    if json.loads(body)["password"] != PASSWORD:
        return "401 Unauthorized", [], ""
    name = secrets.token_hex(8)
    sessions.add(name)
    return "200 OK", [("Content-Type", "application/json")], json.dumps({"access": name})


def api(environ: Any, cookies: Any, body: str) -> Answer:
    given = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
    return ("200 OK" if sessions.has(given) else "401 Unauthorized"), [], "api"


def guarded(environ: Any, cookies: Any, body: str) -> Answer:
    good = environ.get("HTTP_AUTHORIZATION") == basic(f"reader:{PASSWORD}")
    return ("200 OK" if good else "401 Unauthorized"), [], "guarded"


def forget(environ: Any, cookies: Any, body: str) -> Answer:
    sessions.forget()
    return "204 No Content", [], ""


def order(environ: Any, cookies: Any, body: str) -> Answer:
    number = str(next(numbers))
    orders[number] = body
    return "201 Created", [("Location", f"http://elsewhere/orders/{number}")], ""


def by_id(environ: Any, cookies: Any, body: str) -> Answer:
    number = environ["PATH_INFO"].removeprefix("/orders/")
    if environ["REQUEST_METHOD"] == "DELETE" and number in orders:
        return "200 OK", [], orders.pop(number)
    return ("200 OK", [], orders[number]) if number in orders else ("404 Not Found", [], "")


ROUTES: dict[str, Callable[[Any, Any, str], Answer]] = {
    "GET /login": page, "POST /login": login, "GET /me": me, "POST /save": save,
    "POST /token": token, "GET /api": api, "GET /basic": guarded, "POST /forget": forget,
    "POST /orders": order, "GET /ready": lambda *_: ("200 OK", [], "ready"),
}  # fmt: skip
app = SeismWSGI(application)
