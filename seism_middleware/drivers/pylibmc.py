"""pylibmc, which never tells its descriptors; only clients of one server can be followed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from seism_middleware.drivers.span import Patch, Spans, track_of

METHODS = (
    "add", "add_multi", "append", "cas", "decr", "delete", "delete_multi", "flush_all", "get",
    "get_multi", "get_stats", "gets", "incr", "incr_multi", "prepend", "replace", "set",
    "set_multi", "touch",
)  # fmt: skip


FAILED = ("ConnectionError", "HostLookupError", "ServerDead", "ServerDown")
"""Errors without a connection; of the last two, the server is left alone for a while."""


def patches(spans: Spans) -> Iterator[Patch]:
    """The methods that talk to the server."""
    cls = sys.modules["pylibmc.client"].Client

    def wrap(original: Any) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            if len(getattr(self, "addresses", ())) != 1:
                return original(self, *args, **kwargs)
            return spans.call_blind(
                track_of(self),
                lambda: original(self, *args, **kwargs),
                connects=True,
                peers=lambda error: _addresses(self, error),
            )

        return method

    for name in METHODS:
        if hasattr(cls, name):
            yield cls, name, wrap


def _addresses(client: Any, error: Exception) -> Iterator[tuple[str, int]]:
    translate = sys.modules["pylibmc.client"].translate_server_spec
    if type(error).__name__ in FAILED:
        for address in client.addresses:
            _, host, port, _ = translate(address)
            yield host, port
