"""How long an answer was waited for, and because of whom.

A request that hangs until the perturbation is undone has not survived it. But the app is not to
blame where the client's patience is shorter than the delays that Seism adds up.
"""

from __future__ import annotations

from collections.abc import Iterable

from seism.verdict.client_view import gave_up, took
from seism.verdict.result import AMBER, HANG, RED, SLOW, Verdict
from seism.verdict.timeline import Timeline
from seism_middleware.contract import Attribution, PerturbationBegan, RequestEnded

DELAYS = frozenset(
    {
        "bandwidth",
        "connect_delay",
        "exchange_delay",
        "http_drip",
        "impatient",
        "late",
        "latency",
        "slicer",
        "smtp_slow_banner",
        "stall",
    }
)
"""The toxics that let everything through, later."""
SHORT = frozenset({"impatient", "late"})
"""Of these, those that are shorter than an app's deadlines: what they ask is not whether it has
one."""
UNDONE = ("removed", "enabled")
"""How a perturbation ends that is undone while it lasts (``contract.PerturbationEnded``)."""


def late_verdict(
    request: RequestEnded, attributions: Iterable[Attribution], timeline: Timeline, deadline: float
) -> Verdict | None:
    """The verdict on a request that took longer than its ``deadline`` (seconds), or than its client
    waited, because of perturbations; None where there is nothing to add.
    """
    sent = gave_up(request)
    if sent is None and took(request) <= deadline:
        return None
    records = [
        record
        for attribution in attributions
        if (record := timeline.perturbations.get(attribution.perturbation)) is not None
    ]
    if sent is not None:
        end = sent.at + sent.duration
        delays = [_span(record, timeline) for record in records if record.type in DELAYS]
        if delays:
            delays += _queued(request, sent.at, timeline)
        if delays and sent.duration - _overlap(delays, sent.at, end) <= deadline:
            waited = f"after {sent.duration:.1f} s"
            return Verdict(
                AMBER, f"its client gave up {waited}, and was delayed by Seism that long", SLOW
            )
        return None
    began, end = request.began, request.began + took(request)
    for record in records:
        over = timeline.ends.get(record.perturbation)
        if record.type in DELAYS or over is None or over.outcome not in UNDONE:
            continue
        if began + deadline < over.at <= end:
            return Verdict(
                RED, f"hung until the perturbation was undone, for {took(request):.1f} s", HANG
            )
    return None


def short_delays(
    request: RequestEnded, records: Iterable[PerturbationBegan], timeline: Timeline
) -> float:
    """Seconds of ``request`` in which short delays of ``records`` held it up, or others whose
    connections or threads it may have waited for.
    """
    spans = [_span(record, timeline) for record in records if record.type in SHORT]
    return _overlap(spans, request.began, request.began + took(request))


def _queued(request: RequestEnded, sent_at: float, timeline: Timeline) -> list[tuple[float, float]]:
    """The delays, of whichever request, in the time from ``sent_at`` in which no worker had begun
    ``request``: it waited for those that they held up.
    """
    spans = (
        _span(record, timeline)
        for record in timeline.perturbations.values()
        if record.type in DELAYS
    )
    return [
        (max(first, sent_at), min(last, request.began))
        for first, last in spans
        if first < request.began and last > sent_at
    ]


def _span(record: PerturbationBegan, timeline: Timeline) -> tuple[float, float]:
    over = timeline.ends.get(record.perturbation)
    return record.at, over.at if over is not None else float("inf")


def _overlap(spans: Iterable[tuple[float, float]], begin: float, end: float) -> float:
    """Seconds of ``[begin, end]`` that the union of ``spans`` covers."""
    covered, reached = 0.0, begin
    for first, last in sorted(spans):
        first, last = max(first, reached), min(last, end)
        if last > first:
            covered += last - first
            reached = last
    return covered
