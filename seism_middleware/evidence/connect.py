"""Evidence of the connect: it names who opened a connection, and only for what came first."""

from __future__ import annotations

from seism_middleware.contract import CONNECT
from seism_middleware.evidence.base import Case, Finding, Found, Sources
from seism_middleware.ledger import FailedConnect, Ledger
from seism_middleware.snapshot import snapshot


def belongs(failed: FailedConnect, case: Case) -> bool:
    """Whether the connect failed because of the outage ``case``."""
    began, until = case.began, case.ended.at if case.ended else float("inf")
    return failed.belongs(began.perturbation, began.proxy, began.at, until)


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
        refusals = snapshot(self._ledger.refusals)
        found = {failed.request: None for failed in refusals if belongs(failed, case)}
        return Finding(CONNECT, tuple(Found(request, True) for request in found))


def evidence(sources: Sources) -> ConnectEvidence:
    """The kind ``connect``."""
    return ConnectEvidence(sources.ledger)
