"""mysqlclient: its connection is a Python class over C methods."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from seism_middleware.drivers.span import Patch, Spans, track_of

METHODS = (
    "autocommit", "change_user", "close", "commit", "kill", "next_result", "ping",
    "query", "rollback", "select_db", "set_character_set", "set_server_option", "shutdown", "stat",
    "store_result", "use_result",
)  # fmt: skip


POSITIONAL = ("host", "user", "password", "database", "port", "unix_socket")
PORT = 3306


def patches(spans: Spans) -> Iterator[Patch]:
    """The methods that talk to the server."""
    cls = sys.modules["MySQLdb.connections"].Connection

    def connecting(original: Any) -> Any:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            made: list[Any] = []  # to ask one that has not connected ends the process

            def connect() -> None:
                original(self, *args, **kwargs)
                made.append(self)

            spans.call(
                track_of(self),
                lambda: _fileno(self) if made else None,
                connect,
                lambda error: _addresses(args, kwargs, error),
            )

        return __init__

    def wrap(original: Any) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            track = track_of(self)
            if track is None or track.running:  # also while it connects
                return original(self, *args, **kwargs)
            return spans.call(track, lambda: _fileno(self), lambda: original(self, *args, **kwargs))

        return method

    yield cls, "__init__", connecting
    for name in METHODS:
        if hasattr(cls, name):
            yield cls, name, wrap


def _addresses(
    args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> Iterator[tuple[str, int]]:
    """Where it could not connect to, unless that is a Unix socket, as ``localhost`` is."""
    if not client_error(error.args[0] if error.args else None):
        return
    given = {**dict(zip(POSITIONAL, args, strict=False)), **kwargs}
    host = given.get("host")
    if host and host != "localhost" and not given.get("unix_socket"):
        yield host, int(given.get("port") or PORT)


def client_error(number: Any) -> bool:
    """Whether it is one of the client's errors, which no server has sent (CR_MIN_ERROR)."""
    return isinstance(number, int) and 2000 <= number < 3000


def _fileno(connection: Any) -> int | None:
    try:
        return int(connection.fileno())
    except Exception:
        return None  # closed, not connected yet, or used by another thread
