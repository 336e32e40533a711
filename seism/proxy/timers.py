"""Many due times, one heap, one timer of the event loop."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from typing import Any

from seism.clock import Clock
from seism.proxy.alarm import alarm

logger = logging.getLogger(__name__)

_COMPACT = 64
_TURN_SECONDS = 0.005
"""However many are due, the loop turns after that."""


class Timer:
    """One call at one time; ``cancel`` lets go of the callback at once."""

    __slots__ = ("_callback", "_timers", "when")

    def __init__(self, timers: Timers, when: float, callback: Callable[[], None]) -> None:
        self._timers = timers
        self._callback: Callable[[], None] | None = callback
        self.when = when

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        if self._callback is not None:
            self._callback = None
            self._timers._cancelled()

    @property
    def active(self) -> bool:
        return self._callback is not None

    def _fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Timers:
    """Calls back at times of ``clock``, never before them."""

    def __init__(self, loop: Any, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[Timer] = []
        self._stale = 0
        self._alarm = alarm(loop, self._ring)
        self._set_to: float | None = None

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` in the loop once it is ``when``; a past time means soon."""
        timer = Timer(self, when, callback)
        heapq.heappush(self._heap, timer)
        self._set()
        return timer

    def __len__(self) -> int:
        """How many entries there are, cancelled ones that are still kept included."""
        return len(self._heap)

    def close(self) -> None:
        self._heap.clear()
        self._alarm.close()

    def _set(self) -> None:
        head = self._heap[0].when
        if self._set_to is None or head < self._set_to:
            self._set_to = head
            self._alarm.set(max(0.0, head - self._clock.now()))

    def _ring(self) -> None:
        self._set_to = None
        now = self._clock.now()
        turn = now + _TURN_SECONDS
        while self._heap and self._heap[0].when <= now and self._clock.now() < turn:
            timer = heapq.heappop(self._heap)
            if not timer.active:
                self._stale -= 1
                continue
            try:
                timer._fire()
            except Exception:
                logger.exception("a timer's callback failed")
        if self._heap:
            self._set()

    def _cancelled(self) -> None:
        # A long delay must not keep one entry per connection that has gone since.
        self._stale += 1
        if self._stale > _COMPACT and self._stale * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer.active]
            heapq.heapify(self._heap)
            self._stale = 0
