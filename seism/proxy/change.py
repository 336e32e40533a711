"""Who changes what perturbs, so that the journal can say it.

Whoever serves a caller says so for the time of the call (``acting``); the collection of proxies
notes it with each change. Greenlets each have a context of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

FILE, API, CHAOS = "file", "api", "chaos"
"""The file at the sidecar's start, a call without a lease, standing chaos; else a lease's name."""

_WHO: ContextVar[str] = ContextVar("seism.acting", default=FILE)


@contextmanager
def acting(who: str) -> Iterator[None]:
    """What is changed within the block is changed by ``who``."""
    token = _WHO.set(who)
    try:
        yield
    finally:
        _WHO.reset(token)


def who() -> str:
    """Who acts now."""
    return _WHO.get()
