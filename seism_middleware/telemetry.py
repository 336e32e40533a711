"""OpenTelemetry: what hit a request, on the span in which it is served.

Where the app has imported ``opentelemetry.trace`` by itself, each attribution becomes a span event
``seism.perturbation`` with the attributes ``seism.perturbation``, ``seism.request``,
``seism.role``, ``seism.evidence`` and ``seism.exact``, and the span has the attribute
``seism.request``. Nothing is imported, and without the API nothing is done.

The span is the one that is current when the app starts its response. An attribution that comes
after that span has ended is in the journal only: an ended span takes no events.
"""

from __future__ import annotations

import sys
from typing import Any

from seism_middleware import native, signals
from seism_middleware.bounded import Bounded
from seism_middleware.contract import Attribution, RequestEnded
from seism_middleware.hits import MAX_REQUESTS

API = "opentelemetry.trace"


class Telemetry:
    """Follows the signals of ``sender``, an Observer. Raises ImportError without blinker."""

    def __init__(self, sender: Any) -> None:
        self._lock = native.lock()
        self._spans: dict[str, Any] = {}
        self._early: Bounded[str, list[Attribution]] = Bounded(MAX_REQUESTS)
        signals.attribution_made.connect(self._attributed, sender=sender)
        signals.response_started.connect(self._started, sender=sender)
        signals.request_ended.connect(self._ended, sender=sender)

    def _started(self, sender: Any, record: str) -> None:
        """In the context of the request: its span is the current one, or there is none."""
        api: Any = sys.modules.get(API)
        span = api.get_current_span() if api is not None else None
        if span is None or not span.is_recording():
            return
        span.set_attribute("seism.request", record)
        with self._lock:
            self._spans[record] = span
            early = self._early.pop(record, [])
        for attribution in early:
            _tell(span, attribution)

    def _attributed(self, sender: Any, record: Attribution) -> None:
        if record.request is None:
            return
        with self._lock:
            span = self._spans.get(record.request)
            if span is None:
                self._early.setdefault(record.request, []).append(record)
        if span is not None:
            _tell(span, record)

    def _ended(self, sender: Any, record: RequestEnded) -> None:
        if record.request in self._early:  # no response was started
            self._started(sender, record.request)
        with self._lock:
            self._spans.pop(record.request, None)
            self._early.pop(record.request, None)


def _tell(span: Any, attribution: Attribution) -> None:
    if span.is_recording():
        span.add_event(
            "seism.perturbation",
            {
                "seism.perturbation": attribution.perturbation,
                "seism.request": attribution.request,
                "seism.role": attribution.role,
                "seism.evidence": attribution.evidence,
                "seism.exact": attribution.exact,
            },
        )


def telemetry(sender: Any) -> Telemetry | None:
    """Where the app has imported the API by now; None elsewhere."""
    if API not in sys.modules:
        return None
    try:
        return Telemetry(sender)
    except ImportError:
        return None
