"""How late a late reply is: a little more than the app's own deadline, where it shows one.

A deadline shows while the backend is slow: requests give up after it. A delay just above it has
each request cancelled while its reply is on the way, which 3 s do as well, but not twice a second.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from seism.experiment.perturbation import Planned
from seism.journal import Entry
from seism.verdict.step import StepWindow
from seism.verdict.timeline import build

LATE, IMPATIENT, SLOW = "late", "impatient", "latency"
CROWDED = frozenset({LATE, IMPATIENT})
"""What shows only where many requests are under way, as it takes places of a pool."""
USUAL_MS = 300
"""Where no deadline shows: less than usual timeouts, more than a healthy backend takes."""
MARGIN = 1.2
"""The delay, in deadlines."""
SHORTEST_MS, LONGEST_MS = 100, 2000


def is_sized(planned: Planned) -> bool:
    """Whether the run decides how late it is."""
    return is_crowded(planned) and "delay" not in planned.attributes


def is_crowded(planned: Planned) -> bool:
    """Whether a probe of a sweep sends many requests at once."""
    return planned.type in CROWDED


def sized(planned: Planned, entries: Sequence[Entry]) -> Planned:
    """``planned`` with a delay, by what the journal has of the backend's slow time."""
    gave_up = _deadline(planned.backend, entries)
    delay = USUAL_MS if gave_up is None else round(1000 * MARGIN * gave_up)
    delay = min(max(delay, SHORTEST_MS), LONGEST_MS)
    return replace(planned, attributes={**planned.attributes, "delay": delay})


def _deadline(backend: str, entries: Sequence[Entry]) -> float | None:
    """Seconds after which most requests failed that the slow backend had hit."""
    timeline = build(entries)
    found = []
    for index, step in enumerate(timeline.plan):
        if step.type != SLOW or step.backend != backend:
            continue
        window = StepWindow.of(timeline, index)
        delay = step.spec.attributes.get("latency", 0) / 1000
        found += [
            request.duration
            for request in window.during.requests
            if (request.status or 0) >= 500 and request.duration < delay and window.is_hit(request)
        ]
    return statistics.median_low(found) if found else None
