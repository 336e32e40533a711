"""Copies of what other threads, and the garbage collector, change meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def snapshot(live: Iterable[T]) -> list[T]:
    """The elements of a deque, or of a view of a dict.

    Making a list can start the garbage collector, anywhere; that may close sockets, whose entries
    go, and the copy that was under way fails.
    """
    while True:
        try:
            return list(live)
        except RuntimeError:
            continue
