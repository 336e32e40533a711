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


def patches(spans: Spans) -> Iterator[Patch]:
    """The methods that talk to the server."""
    cls = sys.modules["MySQLdb.connections"].Connection

    def connecting(original: Any) -> Any:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            made: list[Any] = []  # to ask one that has not connected ends the process

            def connect() -> None:
                original(self, *args, **kwargs)
                made.append(self)

            spans.call(track_of(self), lambda: _fileno(self) if made else None, connect)

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


def _fileno(connection: Any) -> int | None:
    try:
        return int(connection.fileno())
    except Exception:
        return None  # closed, not connected yet, or used by another thread
