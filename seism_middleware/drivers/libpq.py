"""Where libpq connects to, by its parameters: the addresses that a failed connect was for.

The parameters are those of a connection string or their environment variables (PostgreSQL's
manual, 34.1.2 and 34.15); a service file is not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

PORT = "5432"


def addresses(given: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Each (host, port) of TCP that libpq tries; none for Unix sockets, libpq's default."""
    numeric, names = _words(given, "hostaddr"), _words(given, "host")
    ports = _words(given, "port")
    for index, (address, name) in enumerate(zip_longest(numeric, names, fillvalue="")):
        host = address or name
        port = ports[index if len(ports) > 1 else 0] if ports[index:] or len(ports) == 1 else ""
        if host and host[0] not in "/@" and (port or PORT).isdigit():
            yield host, int(port or PORT)


def _words(given: Mapping[str, Any], name: str) -> list[str]:
    text = given.get(name) or os.environ.get(f"PG{name.upper()}") or ""
    return [word.strip() for word in str(text).split(",")] if text else []
