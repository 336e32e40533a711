"""The only source of time."""

from __future__ import annotations

import time
from typing import Protocol

from seism_middleware.wire import clock_domain


class Clock(Protocol):
    """A monotonic clock, in seconds; tests bring their own."""

    domain: str
    """Equal for clocks whose readings can be compared."""

    def now(self) -> float: ...


class MonotonicClock:
    """CLOCK_MONOTONIC, which all processes of a host share."""

    def __init__(self) -> None:
        self.domain = clock_domain()

    now = staticmethod(time.monotonic)
