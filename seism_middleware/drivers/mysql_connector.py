"""mysql-connector's C extension, which never tells its descriptor."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from seism_middleware.drivers.mysqlclient import client_error
from seism_middleware.drivers.span import Patch, Spans, track_of

METHODS = (
    "close", "cmd_change_user", "cmd_init_db", "cmd_query", "cmd_refresh", "cmd_reset_connection",
    "cmd_statistics", "cmd_stmt_close", "cmd_stmt_execute", "cmd_stmt_prepare", "cmd_stmt_reset",
    "commit", "consume_results", "get_row", "get_rows", "info_query", "is_connected",
    "next_result", "ping", "rollback", "set_character_set_name",
)  # fmt: skip
SILENT = (
    "cmd_stmt_close", "close", "consume_results", "get_row", "get_rows", "is_connected",
    "next_result", "ping",
)  # fmt: skip
"""Those that may send nothing, so that a socket that did not move may be theirs all the same."""


def patches(spans: Spans) -> Iterator[Patch]:
    """The methods that talk to the server."""
    cls = sys.modules["mysql.connector.connection_cext"].CMySQLConnection

    def addresses(connection: Any, error: Exception) -> Iterator[tuple[str, int]]:
        if client_error(getattr(error, "errno", None)) and not connection._unix_socket:
            yield connection._host, int(connection._port)

    def wrap(fresh: bool, silent: bool) -> Any:
        def wrapped(original: Any) -> Any:
            def method(self: Any, *args: Any, **kwargs: Any) -> Any:
                return spans.call_blind(
                    track_of(self),
                    lambda: original(self, *args, **kwargs),
                    fresh,
                    silent,
                    peers=(lambda error: addresses(self, error)) if fresh else None,
                )

            return method

        return wrapped

    yield cls, "connect", wrap(True, False)
    for name in METHODS:
        if hasattr(cls, name):
            yield cls, name, wrap(False, name in SILENT)
