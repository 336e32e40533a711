"""What is to be said of one request by itself, whatever hit it.

The verdict over a run (``seism.judge``) begins with this; the dashboard shows it as it happens,
when there is no control run yet to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from seism.rules import Applied, Rules
from seism.verdict import AMBER, GREEN, RED
from seism_middleware.contract import BODY_NONE, BODY_TRUNCATED, RequestEnded


@dataclass(frozen=True, slots=True)
class Opinion:
    """A record of the feed, not of the journal, from which it follows."""

    kind: ClassVar[str] = "opinion"
    request: str
    colour: str
    """``green``, ``amber`` or ``red``."""
    reason: str = ""
    """One line, empty when green."""


def opinion(request: RequestEnded, rules: Rules) -> Opinion:
    """By ``rules`` alone: statuses, Retry-After, the error log, the deadline."""
    applied = rules.of(f"{request.method} {request.route}")
    reason = failure(request, (503, *applied.allow))
    if reason:
        return Opinion(request.request, RED, reason)
    if request.duration > applied.deadline:
        late = f"slower than the deadline of {applied.deadline:.1f} s"
        return Opinion(request.request, AMBER, late)
    reason = ill_mannered(request, applied) if request.status == 503 else ""
    return Opinion(request.request, AMBER if reason else GREEN, reason)


def failure(request: RequestEnded, allowed: Sequence[int] = ()) -> str:
    """Why the request failed by its status or body alone, empty if it did not."""
    if request.body == BODY_NONE or request.status is None:
        return "no response"
    if request.body == BODY_TRUNCATED:
        return f"{request.status} with a truncated body"
    if request.status >= 500 and request.status not in allowed:
        raised = f" ({request.exception})" if request.exception else ""
        return f"{request.status}{raised}"
    return ""


def ill_mannered(request: RequestEnded, rules: Applied) -> str:
    """What a 503 lacks: when to come back, and a line in which somebody can read why."""
    missing = []
    if rules.retry_after and not request.retry_after:
        missing.append("without Retry-After")
    if rules.error_log and not request.errors:
        missing.append("without an error in the log")
    return "503 " + " and ".join(missing) if missing else ""
