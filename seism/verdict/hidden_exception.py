"""Exceptions behind an answer that looks fine: the app raised after the answer had begun.

They are named in any case, those of the control run too. On a request that was hit, where the
control run never raised the like, they are amber.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from seism.verdict.detector import Told, by_request, counted
from seism.verdict.result import AMBER, HIDDEN, Verdict
from seism.verdict.rules import Rules
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Segment, Timeline, route_of
from seism_middleware.contract import BODY_COMPLETE, RequestEnded

CONTROL = ("steady", "control")
JUDGED = (*CONTROL, "during", "after", "mixed")


class HiddenExceptionDetector:
    """Looks for exceptions behind answers below 500."""

    def __init__(self, timeline: Timeline, control: ControlRun, rules: Rules) -> None:
        self._usual = Counter(_key(request) for request in _of(timeline, CONTROL))

    def told(self, step: StepWindow) -> Iterator[Told]:
        """Of the requests of one step that were hit."""
        for (route, _), mine in by_request(step.requests).items():
            found: dict[str, list[RequestEnded]] = {}
            for request in mine:
                new = _is_hidden(request) and not self._usual[_key(request)]
                if new and step.attributions(request.request):
                    found.setdefault(request.exception, []).append(request)
            for exception, requests in found.items():
                ids = frozenset(request.request for request in requests)
                what = f"{exception} was raised behind an answer with the status"
                statuses = " or ".join(sorted({str(request.status) for request in requests}))
                yield Told(route, ids, Verdict(AMBER, f"{what} {statuses}", HIDDEN))


def hidden_exceptions(timeline: Timeline) -> Iterator[str]:
    """One line for each route and exception of a journal."""
    everything = Counter(map(route_of, _requests(timeline, JUDGED)))
    found = Counter(_key(request) for request in _of(timeline, JUDGED))
    usual = Counter(_key(request) for request in _of(timeline, CONTROL))
    for (route, exception), count in sorted(found.items()):
        of_control = usual[route, exception]
        where = f", {of_control} of them in the control run" if of_control else ""
        yield (
            f"{route}: {exception} was raised behind an answer below 500 in "
            f"{counted(count, everything[route])}{where}"
        )


def _of(timeline: Timeline, phases: Sequence[str]) -> Iterable[RequestEnded]:
    return filter(_is_hidden, _requests(timeline, phases))


def _requests(timeline: Timeline, phases: Sequence[str]) -> Iterator[RequestEnded]:
    segments: Iterable[Segment] = timeline.segments
    for segment in segments:
        if segment.phase.phase in phases:
            yield from segment.requests


def _key(request: RequestEnded) -> tuple[str, str]:
    return route_of(request), request.exception


def _is_hidden(request: RequestEnded) -> bool:
    """Whether its client got all of an answer below 500, and an exception left the app."""
    fine = request.status is not None and request.status < 500
    return bool(request.exception) and fine and request.body == BODY_COMPLETE
