"""The limits of a run: what makes it stop, and undo what it has perturbed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from seism.errors import SeismError
from seism.experiment.config import Limits

ENOUGH = 20
"""Requests before a share of failures means anything."""


class LimitReached(SeismError):
    """The run has come to one of its limits; the message says which."""


class Guarded:
    """Counts while a run goes on; ``check`` raises LimitReached at a limit."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._end = clock() + limits.seconds
        self._counting = False
        self._requests = 0
        self._failed = 0

    @property
    def counts_red(self) -> bool:
        """Whether somebody has to judge after each perturbation."""
        return self._limits.red > 0

    def perturbing(self) -> None:
        """From now on failures count."""
        self._counting = True

    def check(self, requests: int = 0, failed: int = 0) -> None:
        """``requests`` of the segment that goes on have ended, and so many of them failed."""
        if self._clock() >= self._end:
            raise LimitReached(f"its maximum duration of {self._limits.seconds:g} s is over")
        requests, failed = self._requests + requests, self._failed + failed
        share = 100 * failed / requests if requests else 0.0
        if self._counting and requests >= ENOUGH and share > self._limits.error_percent:
            raise LimitReached(
                f"{share:.1f} % of {requests} requests failed, {self._limits.error_percent:g} % may"
            )

    def add(self, driven: dict[str, Any]) -> None:
        """A segment is over; this came of it."""
        if self._counting:
            self._requests += driven["requests"]
            self._failed += sum(map(failures, driven["routes"].values()))
        self.check()

    def red(self, names: set[str]) -> None:
        """These perturbations are red so far."""
        if self.counts_red and len(names) >= self._limits.red:
            raise LimitReached(f"{len(names)} perturbations are red: {', '.join(sorted(names))}")


def failures(figures: dict[str, Any]) -> int:
    """How many requests of a route failed: without a whole response, or with a 5xx."""
    statuses: dict[str, int] = figures["statuses"]
    wrong = sum(count for status, count in statuses.items() if status >= "500")
    return int(figures["no_response"] + figures["truncated"] + wrong)
