"""Evidence of the connect: it names who opened a connection, and only for what came first."""

from __future__ import annotations

from seism_middleware.contract import CONNECT
from seism_middleware.evidence.base import Case, Finding, Found, Sources
from seism_middleware.ledger import Ledger
from seism_middleware.snapshot import snapshot


def ended_at(case: Case) -> float:
    """When the perturbation ended, infinity if it has not."""
    return case.ended.at if case.ended else float("inf")


class ConnectEvidence:
    """Knows who opened a connection on which nothing was sent, and whose connects failed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def first(self, case: Case) -> Finding | None:
        if not case.began.client:
            return self._failed(case)
        connection, offset = case.connection, case.began.offset
        if connection is None or connection.opaque:
            return None
        start = connection.sent if offset is None else offset
        for claim in connection.history():
            if claim.length and (claim.offset < start or (claim.unknown and claim.offset == start)):
                return None
        opener = connection.opener
        if opener is not None and opener.in_flight(case.began.at):
            return Finding(CONNECT, (Found(opener, True),))
        return Finding(CONNECT, (), idle=True)

    def further(self, case: Case) -> Finding | None:
        return None if case.began.client else self._failed(case)

    def _failed(self, case: Case) -> Finding:
        """A proxy that is down: whose connects failed meanwhile, as far as they are over."""
        began, until = case.began, ended_at(case)
        found = {
            failed.request: None
            for failed in snapshot(self._ledger.refusals)
            if failed.overlaps(began.proxy, began.at, until)
        }
        return Finding(CONNECT, tuple(Found(request, True) for request in found))


def evidence(sources: Sources) -> ConnectEvidence:
    """The kind ``connect``."""
    return ConnectEvidence(sources.ledger)
