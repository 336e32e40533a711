"""A detector looks at the answers of one step beside those of the control run.

Each is a class in a module of its own, and a name in ``detectors.DETECTORS``. Its findings are
part of the verdict on the requests that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from seism.verdict.client_view import sent_of
from seism.verdict.result import GREEN, Verdict
from seism.verdict.rules import Rules
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline, route_of
from seism_middleware.contract import RequestEnded

ENOUGH = 5
"""Answers of the control run to a request that are enough to know what is usual."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a detector says of requests of one route; a green one is a note, not a fault."""

    route: str
    requests: frozenset[str]
    verdict: Verdict
    certain: bool = False
    """Whether coincidence is excluded, however flaky the route is."""
    unused: tuple[str, ...] = ()
    """Backends that the route does not ask any more."""


class Detector(Protocol):
    """Looks at the steps of one journal."""

    def __init__(self, timeline: Timeline, control: ControlRun, rules: Rules) -> None: ...

    def told(self, step: StepWindow) -> Iterator[Told]:
        """Its findings in ``step``."""
        ...


class Detected:
    """What all detectors say of one step."""

    def __init__(self, told: Iterable[Told]) -> None:
        self._told = list(told)
        self._of: dict[str, Verdict] = {}
        for each in self._told:
            for request in each.requests:
                known = self._of.get(request)
                if known is None or each.verdict.severity > known.severity:
                    self._of[request] = each.verdict

    def verdict(self, request: str) -> Verdict | None:
        """The worst that is said of ``request``."""
        found = self._of.get(request)
        return found if found is not None and found.colour != GREEN else None

    def unused(self) -> dict[tuple[str, str], str]:
        """(Route, backend) -> why what follows on that backend says nothing of the route."""
        return {
            (each.route, backend): each.verdict.reason
            for each in self._told
            for backend in each.unused
        }

    def notes(self, route: str) -> tuple[str, ...]:
        """Notes on ``route``, which are not faults."""
        found = (each for each in self._told if each.route == route)
        return tuple(each.verdict.reason for each in found if each.verdict.colour == GREEN)

    def is_certain(self, route: str) -> bool:
        """Whether a fault of ``route`` excludes coincidence."""
        return any(
            each.certain and each.verdict.colour != GREEN
            for each in self._told
            if each.route == route
        )


def by_request(requests: Iterable[RequestEnded]) -> Mapping[tuple[str, str], list[RequestEnded]]:
    """(Route, request of the load) -> its answers, in their order."""
    found: dict[tuple[str, str], list[RequestEnded]] = {}
    for request in requests:
        found.setdefault((route_of(request), load_request(request)), []).append(request)
    return found


def usual_answers(control: ControlRun, route: str, request: str) -> Sequence[RequestEnded]:
    """What the control run answered to the same ``request`` of the load, or, where that is not
    enough, to all of its ``route``.
    """
    everything = control.requests(route)
    same = [each for each in everything if load_request(each) == request]
    return same if len(same) >= ENOUGH else everything


def load_request(request: RequestEnded) -> str:
    """As the load sends it: ``METHOD /path?query``; the route where nobody knows."""
    sent = sent_of(request)
    return sent.route if sent is not None else route_of(request)


def counted(number: int, of: int, what: str = "requests") -> str:
    """``3 of 8 requests``; ``1 request`` where there is one."""
    return f"{number} of {of} {what}" if of != 1 else f"1 {what.removesuffix('s')}"
