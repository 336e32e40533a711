"""What the load generator counted, held against what was observed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from seism.journal import LoadDone
from seism.verdict.client_view import observations
from seism.verdict.timeline import Segment, Timeline, load_route
from seism_middleware.contract import BODY_NONE, BODY_TRUNCATED, RequestEnded

UNKNOWN = "unknown"
"""In an action's counts: how many are in doubt."""


def unseen(segment: Segment) -> int:
    """Requests that got no response and that no worker ever began."""
    return _unseen(segment.load, len(segment.requests) + segment.outside)


def unseen_of_all(timeline: Timeline) -> int:
    """The same of the whole run, where the load did not count by phase."""
    return _unseen(timeline.load, len(timeline.requests) + len(timeline.outside))


def given_up(segment: Segment) -> int:
    """Requests that were answered, and whose clients had gone by then."""
    if segment.load is None:
        return 0
    known = sum(request.body in (BODY_NONE, BODY_TRUNCATED) for request in segment.requests)
    return max(0, _unanswered(segment.load) - unseen(segment) - known - segment.outside)


def dropped(timeline: Timeline) -> int:
    """Observations that are missing, by the workers' count or by the load generator's."""
    by_load = sum(
        _unobserved(segment.load, segment.requests)
        for segment in timeline.segments
        if observations(segment.requests)
    )
    by_load += _unobserved(timeline.load, timeline.requests.values())
    return max(timeline.missing, by_load)


def action_lines(segment: Segment | None, when: str) -> Iterator[str]:
    """Actions that were not done exactly as often as their clients were told."""
    load = segment.load if segment else None
    for route, tally in (load.actions or {} if load else {}).items():
        for _, what in _miscounted(tally, f"actions {route}"):
            yield f"{when} {what}"


def wrong_actions(segment: Segment, route: str) -> list[str]:
    """Actions of ``route`` that were certainly not done as often as they should."""
    actions = (segment.load.actions if segment.load else None) or {}
    sent = load_route(route, actions)
    return [what for key, what in _miscounted(actions[sent]) if key != UNKNOWN] if sent else []


def _miscounted(tally: Mapping[str, int], actions: str = "actions") -> Iterator[tuple[str, str]]:
    for key, what in (
        ("twice", "were done more than once"),
        ("lost", "were acknowledged and never done"),
        (UNKNOWN, "are in doubt: the app did not say how often they were done"),
    ):
        if tally.get(key):
            yield key, f"{tally[key]} of {tally['sent']} {actions} {what}"


def _unanswered(load: LoadDone) -> int:
    routes: Mapping[str, Mapping[str, Any]] = load.routes
    return sum(route.get("no_response", 0) + route.get("left", 0) for route in routes.values())


def _unseen(load: LoadDone | None, observed: int) -> int:
    if load is None:
        return 0
    return max(0, min(load.requests - observed, _unanswered(load)))


def _unobserved(load: LoadDone | None, requests: Iterable[RequestEnded]) -> int:
    """Responses that the load got, and that nobody has observed."""
    if load is None:
        return 0
    return max(0, load.requests - _unanswered(load) - len(observations(requests)))
