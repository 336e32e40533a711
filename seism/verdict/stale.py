"""Requests that fail, after a perturbation, on a connection that it had broken.

A pool that does not look at a connection before it hands it out costs one request for each that the
perturbation had broken. That is a kind of its own, and not a route that has not recovered: it is
over when the last such connection has been tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from seism.model import DOWN
from seism.verdict.client_view import took
from seism.verdict.request import failure
from seism.verdict.result import AMBER, MOST_NAMED, RED, STALE, HarmFinding, listed
from seism.verdict.step import StepWindow
from seism.verdict.timeline import worker_of
from seism_middleware.contract import RequestEnded

ENDED = ("closed", "reset", "lost")
"""How a perturbation ends after which its connection is of no use."""


class StaleConnections:
    """The connections that a step has broken, and who failed on them after it."""

    def __init__(self, step: StepWindow) -> None:
        self._step = step
        self._broken = _broken(step)
        self._requests = {
            request.request: local
            for request in step.after.requests
            if failure(request) and (local := self._first(request))
        }

    def __contains__(self, request: str) -> bool:
        return request in self._requests

    def findings(self, unrecovered: bool) -> Iterator[HarmFinding]:
        """One for each backend. ``unrecovered``: a route goes on failing."""
        for backend in self._step.backends:
            mine = {
                key: local
                for key, local in self._requests.items()
                if self._broken.get(local) == backend
            }
            if not mine:
                continue
            ids = tuple(mine)
            connections = len(set(mine.values()))
            endless = unrecovered or len(ids) > max(connections, self._pooled(backend))
            yield HarmFinding(
                kind=STALE,
                perturbation=self._step.name,
                colour=RED if endless else AMBER,
                what=f"{len(ids)} request{'s' * (len(ids) > 1)} failed after it on {connections} "
                f"connection{'s' * (connections > 1)} to {backend} that it had broken: "
                f"{listed(ids)}",
                evidence="ledger",
                exact=True,
                backend=backend,
                worker=worker_of(ids[0]),
                connection=next(iter(mine.values())) if connections == 1 else "",
                requests=ids[:MOST_NAMED],
            )

    def is_endless(self, unrecovered: bool) -> bool:
        """Whether it goes on for longer than there are connections."""
        return any(found.colour == RED for found in self.findings(unrecovered))

    def _first(self, request: RequestEnded) -> str:
        """The broken connection that ``request`` has used; empty if it used none."""
        return next((used.local for used in request.sends if used.local in self._broken), "")

    def _pooled(self, backend: str) -> int:
        return sum(
            row.backend == backend
            for census in self._step.before.censuses.values()
            for row in census.connections
        )


def _broken(step: StepWindow) -> dict[str, str]:
    """The app's ends of the connections that ``step`` has broken -> backend."""
    ends = step.timeline.ends
    broken = {
        record.client: record.proxy
        for record in step.records.values()
        if record.client and (over := ends.get(record.perturbation)) and over.outcome in ENDED
    }
    if any(record.type == DOWN for record in step.records.values()):
        broken |= _known(step, (*step.before.requests, *step.during.requests), step.backends)
    return broken


def _known(
    step: StepWindow, requests: Sequence[RequestEnded], backends: Iterable[str]
) -> dict[str, str]:
    """The connections to ``backends`` that existed before their proxy went down."""
    over = step.after.phase.at
    wanted = set(backends)
    found = {
        row.local: row.backend
        for census in step.before.censuses.values()
        for row in census.connections
        if row.backend in wanted
    }
    found |= {
        used.local: used.backend
        for request in requests
        if request.began + took(request) <= over
        for used in request.sends
        if used.backend in wanted
    }
    return found
