"""What the tests of a suite ask of the backends while nothing is perturbed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from seism.experiment.point import sends_of
from seism.verdict.client_view import sent_of
from seism.verdict.timeline import Segment
from seism_middleware.contract import IN_TEST, RequestEnded


@dataclass(slots=True)
class Learning:
    """What the tests do without perturbations."""

    tests: list[str] = field(default_factory=list)
    """All of them, in their order."""
    chosen: list[str] = field(default_factory=list)
    """Those with requests that are to be perturbed."""
    saved: int = 0
    """Requests that do the same as an earlier one."""
    failing: dict[str, str] = field(default_factory=dict)
    """Test -> why it is left out."""
    idle: int = 0
    """Tests that make no request, or whose requests ask no backend."""
    unlearnt: int = 0
    """Those for which there was no time."""

    def counts(self) -> dict[str, int]:
        """Tests by what became of them; ``saved`` are requests."""
        return {
            "all": len(self.tests),
            "ran": len(self.tests) - self.unlearnt,
            "perturbed": len(self.chosen),
            "idle": self.idle,
            "left_out": len(self.failing),
            "saved": self.saved,
        }


class Twins:
    """Requests of tests that do the same: method, path, status, and what each backend is asked."""

    def __init__(self) -> None:
        self.count = 0
        self._known: set[tuple[Any, ...]] = set()

    def is_one(self, name: str, request: RequestEnded) -> bool:
        """Whether an earlier one does the same as ``request``, whose ``METHOD route`` is
        ``name``; it is counted.
        """
        path, sends = name.partition(IN_TEST)[0], sends_of([request])
        known = (path, request.status, *sends.items())
        if known in self._known:
            self.count += 1
            return True
        self._known.add(known)
        return False


def by_sent(segment: Segment | None) -> dict[str, RequestEnded]:
    """``METHOD route`` as a test sends it -> the request."""
    found = {}
    for request in segment.requests if segment is not None else ():
        sent = sent_of(request)
        if sent is not None:
            found[sent.route] = request
    return found
