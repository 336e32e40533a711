"""The one tolerance for injected delays and for control; no other test looks at wall time."""

from __future__ import annotations

EARLY = 0.002
"""Seconds by which a delay may seem short: two processes' readings, rounding."""
LATE = 0.5
"""Seconds by which a busy machine may be late."""


def within(measured: float, expected: float, *, late: float = LATE) -> bool:
    """Whether a delay of ``expected`` seconds can be what was ``measured``."""
    return expected - EARLY <= measured <= expected + late


CONTROL_P99 = 0.05
"""Seconds in which control answers, at the 99th percentile, whatever its data does."""


def in_time(p99: float, limit: float = CONTROL_P99, *, margin: float = LATE) -> bool:
    """Whether an answer that took ``p99`` can have taken ``limit`` on an idle machine.

    ``margin`` is for the others on a busy one; it is far below what waiting for data looks
    like, which is as long as the data takes. The figure itself belongs into the output.
    """
    return p99 <= limit + margin
