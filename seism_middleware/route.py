"""Names for routes where the framework tells none: paths with their identifiers collapsed."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

OTHER = "(other)"
MAX_ROUTES = 200
"""Distinct names that are made up per worker; any further path is ``(other)``."""
MAX_PATH = 1000
"""Characters of a path that are looked at, up to the last whole segment."""

_IDENTIFIER = re.compile(
    r"\d+"
    r"|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
    r"|(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}"
)


@functools.lru_cache(maxsize=512)
def collapse(path: str) -> str:
    """``path`` with each segment that looks like an identifier replaced by ``{id}``.

    Digits, UUIDs and hexadecimal strings of eight or more characters with a digit in them
    look like identifiers. Collapsing twice changes nothing more.
    """
    return "/".join(
        "{id}" if _IDENTIFIER.fullmatch(segment) else segment for segment in path.split("/")
    )


def fill(path: str, parameters: Mapping[str, Any]) -> str:
    """``path`` with the values of path parameters replaced by their names in braces."""
    for name, value in parameters.items():
        text = str(value)
        if text:
            path = f"{path}/".replace(f"/{text}/", f"/{{{name}}}/", 1)[:-1]
    return path


class Routes:
    """Names made from raw paths, a bounded number of them."""

    def __init__(self, limit: int = MAX_ROUTES) -> None:
        self._limit = limit
        self._names: set[str] = set()

    def name(self, path: str) -> str:
        """The collapsed path, or ``(other)`` once there are too many different ones."""
        if len(path) > MAX_PATH:
            path = path[:MAX_PATH].rpartition("/")[0]
        name = collapse(path or "/")[:200]
        if name not in self._names:
            if len(self._names) >= self._limit:
                return OTHER
            self._names.add(name)
        return name
