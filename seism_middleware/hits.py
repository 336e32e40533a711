"""Which perturbations are known to have hit or harmed a request, while it runs.

Kept for the outlets that show it in the app itself: log records, a response header,
OpenTelemetry. They learn it from the signals, and so only once they are switched on.
"""

from __future__ import annotations

from typing import Any

from seism_middleware import native, signals
from seism_middleware.bounded import Bounded
from seism_middleware.contract import Attribution, RequestEnded

MAX_REQUESTS = 4096
"""Requests remembered; an attribution can come after its request has ended."""
MAX_ATTRIBUTIONS = 20
"""Attributions kept of one request."""


class HitIndex:
    """The attributions of each request; one for the process is ``HITS``."""

    def __init__(self) -> None:
        self._lock = native.lock()
        self._attributions: Bounded[str, tuple[Attribution, ...]] = Bounded(MAX_REQUESTS)
        self._following = False

    def follow(self) -> bool:
        """Begin to remember; False if blinker is not there to tell. May be repeated."""
        if not self._following:
            try:
                signals.attribution_made.connect(self._attributed)
                signals.request_ended.connect(self._ended)
            except ImportError:
                return False
            self._following = True
        return True

    def of(self, request: str) -> tuple[Attribution, ...]:
        """What is known of the request with this id by now."""
        return self._attributions.get(request, ())

    def _attributed(self, sender: Any, record: Attribution) -> None:
        if record.request is None:
            return
        with self._lock:
            known = self._attributions.get(record.request, ())
            if len(known) < MAX_ATTRIBUTIONS:
                self._attributions[record.request] = (*known, record)

    def _ended(self, sender: Any, record: RequestEnded) -> None:
        with self._lock:
            self._attributions.pop(record.request, None)

    def renew(self) -> None:
        """In a forked child: the lock may have been held by a thread that is gone."""
        self._lock = native.lock()
        self._attributions.clear()


HITS = HitIndex()


def certain(attributions: tuple[Attribution, ...]) -> str:
    """The ids of the perturbations that are known for certain, with commas between them."""
    return ",".join(
        dict.fromkeys(attribution.perturbation for attribution in attributions if attribution.exact)
    )
