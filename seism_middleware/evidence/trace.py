"""Evidence of a token on the wire: the perturbed bytes name the trace of their request."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from seism_middleware.contract import TRACE
from seism_middleware.evidence.base import Case, Finding, Found, Sources
from seism_middleware.traffic import Request


class TraceEvidence:
    """Knows where the app traces its requests and tells its backends."""

    def __init__(self, running: Callable[[], Iterable[Request]]) -> None:
        self._running = running

    def first(self, case: Case) -> Finding | None:
        trace, at = case.began.trace, case.began.at
        if not trace:
            return None
        found = [r for r in self._running() if r.trace == trace and r.in_flight(at)]
        if not found:
            return None
        exact = len(found) == 1  # a client may send several requests of one trace at once
        return Finding(TRACE, tuple(Found(request, exact) for request in found))

    def further(self, case: Case) -> Finding | None:
        return None


def evidence(sources: Sources) -> TraceEvidence:
    """The kind ``trace``."""
    return TraceEvidence(sources.recent)
