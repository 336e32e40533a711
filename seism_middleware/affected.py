"""Which perturbations are known to have hit or harmed a request, while it runs.

Kept for the outlets that show it in the app itself: log records, a response header,
OpenTelemetry. They learn it from the signals, and so only once they are switched on.
"""

from __future__ import annotations

from typing import Any

from seism_middleware import native, signals
from seism_middleware.contract import Link, RequestEnded

MAX_REQUESTS = 4096
"""Requests remembered; a link can come after its request has ended."""
MAX_LINKS = 20
"""Links kept of one request."""


class Affected:
    """The links of each request; one for the process is ``AFFECTED``."""

    def __init__(self) -> None:
        self._lock = native.lock()
        self._links: dict[str, tuple[Link, ...]] = {}
        self._following = False

    def follow(self) -> bool:
        """Begin to remember; False if blinker is not there to tell. May be repeated."""
        if not self._following:
            try:
                signals.link_made.connect(self._linked)
                signals.request_ended.connect(self._ended)
            except ImportError:
                return False
            self._following = True
        return True

    def of(self, request: str) -> tuple[Link, ...]:
        """What is known of the request with this id by now."""
        return self._links.get(request, ())

    def _linked(self, sender: Any, record: Link) -> None:
        if record.request is None:
            return
        with self._lock:
            known = self._links.get(record.request, ())
            if len(known) < MAX_LINKS:
                self._links[record.request] = (*known, record)
            while len(self._links) > MAX_REQUESTS:
                del self._links[next(iter(self._links))]

    def _ended(self, sender: Any, record: RequestEnded) -> None:
        with self._lock:
            self._links.pop(record.request, None)

    def renew(self) -> None:
        """In a forked child: the lock may have been held by a thread that is gone."""
        self._lock = native.lock()
        self._links = {}


AFFECTED = Affected()


def certain(links: tuple[Link, ...]) -> str:
    """The ids of the perturbations that are known for certain, with commas between them."""
    return ",".join(dict.fromkeys(link.perturbation for link in links if link.exact))
