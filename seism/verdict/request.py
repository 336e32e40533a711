"""The verdict on one request by itself, whatever hit it.

The verdict over a run begins with this. The dashboard shows it as it happens, when there is
no control run yet to compare with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from seism.verdict import log_quality
from seism.verdict.client_view import gave_up, left, took, unanswered
from seism.verdict.result import (
    ABANDONED,
    AMBER,
    BAD_503,
    CUT,
    ERROR,
    FAILED_JOB,
    FINE,
    HANG,
    RED,
    SILENT,
    SLOW,
    Verdict,
)
from seism.verdict.rules import Applied, Rules
from seism.verdict.timeline import route_of
from seism.verdict.wrong_reply import describe
from seism_middleware.contract import BODY_TRUNCATED, JOB, Harm, RequestEnded

REMEMBERED = 10_000
"""Requests with wrong data that may still end."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """The verdict on one request, as a record of the feed; it follows from the journal."""

    kind: ClassVar[str] = "opinion"
    request: str
    colour: str
    """``green``, ``amber`` or ``red``."""
    reason: str = ""
    """One line, empty when green."""


def opinion(request: RequestEnded, rules: Rules) -> Opinion:
    """By ``rules`` alone: statuses, Retry-After, the error log, the deadline."""
    applied = rules.of(route_of(request))
    return _opinion(request.request, judge_request(request, applied, applied.deadline))


def _opinion(request: str, verdict: Verdict) -> Opinion:
    return Opinion(request, verdict.colour, verdict.reason)


class Opinions:
    """As the records come. A request with wrong data for certain is red, whatever its status."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._wrong: dict[str, str] = {}

    def of(self, record: Any) -> Iterator[Opinion]:
        """What ``record`` says of a request; a later one counts instead of an earlier one."""
        if isinstance(record, RequestEnded):
            wrong = self._wrong.get(record.request)
            yield Opinion(record.request, RED, wrong) if wrong else opinion(record, self._rules)
        elif isinstance(record, Harm) and record.exact and record.what != ABANDONED:
            self._wrong[record.request] = describe(record)
            if len(self._wrong) > REMEMBERED:
                del self._wrong[next(iter(self._wrong))]
            yield Opinion(record.request, RED, describe(record))


def judge_request(
    request: RequestEnded,
    rules: Applied,
    deadline: float,
    backend: str = "",
    *,
    sees_logs: bool = True,
) -> Verdict:
    """By these rules; ``deadline`` in seconds.

    ``backend`` is what an error in the log should name; it is not asked for one where nobody
    ``sees_logs``.
    """
    failed = failure(request, (503, *rules.allow))
    if failed:
        return Verdict(RED, failed, _kind(request))
    if took(request) > deadline:
        return Verdict(AMBER, f"slower than the deadline of {_limit(deadline)}", SLOW)
    if request.status == 503:
        lacking = log_quality.missing(request, rules, backend, sees_logs=sees_logs)
        if lacking:
            return Verdict(AMBER, "503 " + " and ".join(lacking), BAD_503)
    return FINE


def _kind(request: RequestEnded) -> str:
    """The kind of fault of a request that has failed."""
    if unanswered(request):
        if gave_up(request):
            return HANG
        return ERROR if request.exception else SILENT
    if request.method == JOB:
        return FAILED_JOB
    return CUT if request.body == BODY_TRUNCATED else ERROR


def _limit(deadline: float) -> str:
    return f"{deadline:.1f} s" if deadline >= 1 else f"{deadline:.2f} s"


def failure(request: RequestEnded, allowed: Sequence[int] = ()) -> str:
    """Why the request failed by its status or body alone, empty if it did not, or if its client
    left.
    """
    if left(request):
        return ""
    if reason := unanswered(request):
        return reason
    if request.body == BODY_TRUNCATED:
        return f"{request.status} with a truncated body"
    if (request.status or 0) >= 500 and request.status not in allowed:
        raised = f" ({request.exception})" if request.exception else ""
        what = "failed for good" if request.method == JOB else str(request.status)
        return what + raised
    return ""
