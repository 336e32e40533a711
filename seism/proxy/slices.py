"""Long work in slices, so that the event loop turns in between.

gevent switches only where a greenlet waits: a loop over thousands of things, or over a socket
that always has more, would stop every proxy and the control API for its whole length. Bulk
work takes turns: however many greenlets have some, one slice runs between two turns of the
loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import gevent
from gevent.lock import BoundedSemaphore

T = TypeVar("T")

SLICE = 20
"""Items of some 20 to 100 microseconds each."""


def in_slices(items: Iterable[T], size: int = SLICE) -> Iterator[T]:
    """``items``, with a turn of the event loop after every ``size`` of them.

    The greenlet that iterates waits meanwhile, so what ``items`` is made of may change.
    """
    for count, item in enumerate(items, 1):
        yield item
        if count % size == 0:
            rest()


def rest() -> None:
    """Wait until the loop has turned.

    ``sleep(0)`` would do more of the callbacks that are ready first, for up to 5 ms.
    """
    gevent.sleep(1e-9)


class Turns:
    """Lets one of many greenlets at a time do a slice of bulk work, and ``rest`` after it.

    Without it each of them would have a slice in every turn of the loop.
    """

    def __init__(self) -> None:
        self._one = BoundedSemaphore(1)

    def __enter__(self) -> None:
        self._one.acquire()

    def __exit__(self, *raised: object) -> None:
        self._one.release()
