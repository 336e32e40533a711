"""The one tolerance for injected delays; no other test looks at wall time."""

from __future__ import annotations

EARLY = 0.002
"""Seconds by which a delay may seem short: two processes' readings, rounding."""
LATE = 0.5
"""Seconds by which a busy machine may be late."""


def within(measured: float, expected: float, *, late: float = LATE) -> bool:
    """Whether a delay of ``expected`` seconds can be what was ``measured``."""
    return expected - EARLY <= measured <= expected + late
