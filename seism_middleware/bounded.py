"""A mapping that forgets the oldest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(dict[K, V]):
    """At most ``most`` entries: one more, and the one that was added first goes.

    ``forgotten`` is called with the value of each such entry. Setting an entry again does not
    make it younger. Only assignment and ``setdefault`` add entries.
    """

    __slots__ = ("_forgotten", "_most")

    def __init__(self, most: int, forgotten: Callable[[V], object] | None = None) -> None:
        super().__init__()
        self._most = most
        self._forgotten = forgotten

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        while len(self) > self._most:
            gone = self.pop(next(iter(self)))
            if self._forgotten is not None:
                self._forgotten(gone)

    def setdefault(self, key: K, default: Any = None) -> Any:
        """As of any dict."""
        if key not in self:
            self[key] = default
        return self.get(key, default)
