"""Evidence of the last resort: the requests that were in flight. Only ever possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from seism_middleware.contract import OVERLAP
from seism_middleware.evidence.base import Case, Finding, Found
from seism_middleware.traffic import Request

MOST = 64
"""Requests named at most for one perturbation."""


class OverlapEvidence:
    """Knows who ran; asked where this process owns the connection and no one knows more."""

    def __init__(self, recent: Callable[[], Iterable[Request]]) -> None:
        self._recent = recent

    def first(self, case: Case) -> Finding | None:
        at = case.began.at
        found = [request for request in self._recent() if request.in_flight(at)][:MOST]
        return Finding(OVERLAP, tuple(Found(request, False) for request in found))

    def further(self, case: Case) -> Finding | None:
        return None
