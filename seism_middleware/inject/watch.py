"""For ``seism init``: what this process connects to, and the routes that its framework knows.

Each fact is one line of JSON in the file that ``SEISM_WATCH`` names. Connects are seen by an audit
hook (PEP 578) and, for drivers in C, by a look at the sockets after each connect. Both stay as long
as the process, which is started for that only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from seism_middleware.imports import Imports

VARIABLE = "SEISM_WATCH"
MAX_FACTS = 1000

_told: set[str] = set()


def start() -> None:
    """Watch, if there is a file to write to."""
    if os.environ.get(VARIABLE):
        sys.addaudithook(_audit)
        Imports(_DRIVERS, lambda module: _DRIVERS[module](sys.modules[module])).install()


def _looking(connect: Any) -> Any:
    """``connect`` of a driver in C, after which this process has one more connection."""

    def connected(*args: Any, **kwargs: Any) -> Any:
        try:
            return connect(*args, **kwargs)
        finally:
            _look()

    return connected


def _look() -> None:
    """Tell the peer and the local port of each socket: those of clients have the server's port."""
    from seism_middleware.handle import connected

    for socket, (host, port) in connected():
        local = socket.getsockname()[1]
        _tell({"host": host.removeprefix("::ffff:"), "port": port, "native": local}, host, port)


def _psycopg(module: Any) -> None:
    connect = module.Connection.connect.__func__
    module.Connection.connect = classmethod(_looking(connect))
    module.connect = module.Connection.connect
    later = module.AsyncConnection.connect.__func__

    async def connect_later(*args: Any, **kwargs: Any) -> Any:
        try:
            return await later(*args, **kwargs)
        finally:
            _look()

    module.AsyncConnection.connect = classmethod(connect_later)


def _psycopg2(module: Any) -> None:
    module._connect = _looking(module._connect)


def _mysqlclient(module: Any) -> None:
    module.Connection.__init__ = _looking(module.Connection.__init__)


_DRIVERS: dict[str, Callable[[Any], None]] = {
    "psycopg": _psycopg, "psycopg2": _psycopg2, "MySQLdb.connections": _mysqlclient,
}  # fmt: skip
"""Drivers in C that keep a connection for one request only, by default or in frameworks."""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[1], int):
            _tell({"host": str(address[0]), "port": address[1]})


def note_routes(app: Any) -> None:
    """Tell the routes of the frameworks inside of ``app``, if somebody asks for them."""
    if os.environ.get(VARIABLE):
        for method, path in _routes(app):
            _tell({"method": method, "path": path})


def _tell(fact: dict[str, Any], *key: object) -> None:
    """Once for each ``key``, which is the fact itself by default."""
    line = json.dumps(fact)
    told = str(key) if key else line
    if told in _told or len(_told) >= MAX_FACTS:
        return
    _told.add(told)
    try:
        with open(os.environ[VARIABLE], "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except (OSError, KeyError):
        pass  # what is not told is asked of the user


def _routes(app: Any) -> Iterator[tuple[str, str]]:
    """Method and pattern of each route."""
    from seism_middleware.frameworks import inside, uniform

    for each in inside(app):
        for module, name, list_routes in _FRAMEWORKS:
            cls = getattr(sys.modules.get(module), name, None)
            if cls is not None and isinstance(each, cls):
                try:
                    for method, path in list_routes(each):
                        yield method, uniform(path)
                except Exception:  # of a version that we do not know
                    continue


def _flask(app: Any) -> Iterator[tuple[str, str]]:
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static":
            for method in sorted((rule.methods or {"GET"}) - {"HEAD", "OPTIONS"}):
                yield method, rule.rule


def _bottle(app: Any) -> Iterator[tuple[str, str]]:
    from seism_middleware.lost_route import bottle_rule

    for route in app.routes:
        yield route.method, bottle_rule(route.rule)


def _pyramid(router: Any) -> Iterator[tuple[str, str]]:
    from pyramid.interfaces import IRoutesMapper

    mapper = router.registry.queryUtility(IRoutesMapper)
    for route in mapper.get_routes() if mapper is not None else ():
        yield "GET", route.pattern


def _starlette(app: Any, mount: str = "") -> Iterator[tuple[str, str]]:
    for route in _included(app.routes):
        path = mount + (getattr(route, "path", "") or "")
        if getattr(route, "methods", None):
            for method in sorted(set(route.methods) - {"HEAD", "OPTIONS"}):
                yield method, getattr(route, "path_format", path) if not mount else path
        elif getattr(route, "routes", None):
            yield from _starlette(route, path)


def _included(routes: Any) -> Iterator[Any]:
    """FastAPI's later versions keep an included router as one route, which tells its own."""
    for route in routes:
        own = getattr(route, "effective_candidates", None)
        if own is None:
            yield route
        else:
            yield from _included(own())


def _aiohttp(app: Any) -> Iterator[tuple[str, str]]:
    for route in app.router.routes():
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS"):
            yield route.method.replace("*", "ANY"), route.resource.canonical


def _django(_: Any) -> Iterator[tuple[str, str]]:
    from django.urls import get_resolver

    yield from _patterns(get_resolver(), "")


def _patterns(resolver: Any, mount: str) -> Iterator[tuple[str, str]]:
    from seism_middleware.frameworks import readable

    for each in resolver.url_patterns:
        path = mount + str(each.pattern).removeprefix("^")
        if hasattr(each, "url_patterns"):
            yield from _patterns(each, path)
        else:
            yield "GET", readable(path)


_FRAMEWORKS: tuple[tuple[str, str, Callable[[Any], Iterator[tuple[str, str]]]], ...] = (
    ("flask", "Flask", _flask),
    ("bottle", "Bottle", _bottle),
    ("pyramid.router", "Router", _pyramid),
    ("starlette.applications", "Starlette", _starlette),
    ("django.core.handlers.base", "BaseHandler", _django),
    ("aiohttp.web_app", "Application", _aiohttp),
)
