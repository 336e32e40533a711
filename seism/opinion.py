"""What is to be said of one request by itself, whatever hit it.

The verdict over a run (``seism.judge``) begins with this; the dashboard shows it as it happens,
when there is no control run yet to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from seism import manners
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
    return Opinion(request.request, *judged(request, applied, applied.deadline))


def judged(
    request: RequestEnded,
    rules: Applied,
    deadline: float,
    backend: str = "",
    *,
    sees_logs: bool = True,
) -> tuple[str, str]:
    """(colour, reason) by these rules; ``deadline`` in seconds.

    ``backend`` is what an error in the log should name; it is not asked for one where nobody
    ``sees_logs``.
    """
    failed = failure(request, (503, *rules.allow))
    if failed:
        return RED, failed
    if request.duration > deadline:
        return AMBER, f"slower than the deadline of {deadline:.1f} s"
    if request.status == 503:
        lacking = manners.missing(request, rules, backend, sees_logs=sees_logs)
        if lacking:
            return AMBER, "503 " + " and ".join(lacking)
    return GREEN, ""


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
