"""psycopg2: its classes are C, so its connections and cursors are made of subclasses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from seism_middleware.drivers import libpq
from seism_middleware.drivers.span import Patch, Spans, Track
from seism_middleware.guard import shielded

CONNECTION = (
    "close", "commit", "poll", "reset", "rollback", "set_client_encoding", "set_isolation_level",
    "set_session", "tpc_begin", "tpc_commit", "tpc_prepare", "tpc_recover", "tpc_rollback",
)  # fmt: skip
CURSOR = ("callproc", "copy_expert", "copy_from", "copy_to", "execute", "executemany")
NAMED = ("__next__", "close", "fetchall", "fetchmany", "fetchone", "scroll")
"""Of a cursor with a name, which fetches from the server."""


def patches(spans: Spans) -> Iterator[Patch]:
    """``psycopg2._connect``, by which ``psycopg2.connect`` makes every connection."""
    module = sys.modules["psycopg2"]
    base, cursor = module.extensions.connection, module.extensions.cursor
    classes: dict[Any, type[Any]] = {}

    def subclass(factory: type[Any], methods: tuple[str, ...], named: bool = False) -> type[Any]:
        found = classes.get((factory, named))
        if found is None:
            members: dict[str, Any] = {
                name: _method(getattr(factory, name), name, spans)
                for name in methods
                if hasattr(factory, name)
            }
            if methods is CONNECTION:
                plain = factory.cursor is base.cursor
                members["cursor"] = _cursor(factory.cursor, cursor if plain else None, subclass)
            members |= {"__module__": factory.__module__, "__qualname__": factory.__qualname__}
            found = classes[factory, named] = type(factory.__name__, (factory,), members)
        return found

    def wrap(original: Any) -> Any:
        def _connect(*args: Any, connection_factory: Any = None, **kwargs: Any) -> Any:
            factory = connection_factory or base
            if isinstance(factory, type):
                factory = shielded(subclass)(factory, CONNECTION) or factory
            track = Track()
            made: list[Any] = []

            def connect() -> Any:
                made.append(original(*args, connection_factory=factory, **kwargs))
                keep(made[0], track)
                return made[0]

            dsn = str(args[0] if args else kwargs.get("dsn"))
            return spans.call(
                track,
                lambda: _fileno(made[0]) if made else None,
                connect,
                lambda error: _addresses(dsn, error),
            )

        return _connect

    @shielded
    def keep(connection: Any, track: Track) -> None:
        connection.__dict__["_seism"] = track
        # A blocking one has its socket by now, and libpq never gives it another.
        track.lasting = not connection.async_

    yield module, "_connect", wrap


def _addresses(dsn: str, error: Exception) -> Iterator[tuple[str, int]]:
    module = sys.modules["psycopg2"]
    if isinstance(error, module.OperationalError):
        yield from libpq.addresses(module.extensions.parse_dsn(dsn))


def _fileno(connection: Any) -> int | None:
    try:
        return int(connection.fileno())
    except Exception:
        return None  # closed


def _method(original: Any, name: str, spans: Spans) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        connection = getattr(self, "connection", self)
        track = getattr(connection, "_seism", None)
        if track is None or ((away := track.away) is not None and away.changes == track.proxies):
            return original(self, *args, **kwargs)
        return spans.call(
            track,
            lambda: _fileno(connection),
            lambda: original(self, *args, **kwargs),
            # Of an asynchronous connection, which connects while it is polled.
            (lambda error: _addresses(connection.dsn, error)) if name == "poll" else None,
        )

    method.__name__ = name
    method.__doc__ = original.__doc__
    return method


def _cursor(original: Any, default: type[Any] | None, subclass: Callable[..., type[Any]]) -> Any:
    """``connection.cursor``, whose cursors are of a subclass as well.

    ``default`` is None where the app's own class has an opinion of it.
    """

    def cursor(
        self: Any, name: Any = None, cursor_factory: Any = None, *rest: Any, **kwargs: Any
    ) -> Any:
        kwargs.update(zip(("withhold", "scrollable"), rest, strict=False))
        made = cursor_factory or self.cursor_factory or default or type(original(self))
        if isinstance(made, type):
            methods = CURSOR if name is None else CURSOR + NAMED
            made = shielded(subclass)(made, methods, name is not None) or made
        if name is not None:
            kwargs["name"] = name
        return original(self, cursor_factory=made, **kwargs)

    return cursor
