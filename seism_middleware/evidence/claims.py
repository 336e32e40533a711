"""Evidence from the claims on a connection: by byte offset, else by who sent last."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from seism_middleware.contract import DRIVER, LEDGER, UPSTREAM
from seism_middleware.evidence.base import Case, Finding, Found, Sources
from seism_middleware.traffic import Claim, Connection, Request

CUTS = ("down", "timeout", "reset_peer")
"""Types that need no bytes to take effect, so that they can break an idle connection."""


class ClaimsEvidence:
    """Knows of connections whose claims are of one ``source``, which names the evidence."""

    def __init__(self, source: str) -> None:
        self.source = source

    def first(self, case: Case) -> Finding | None:
        connection, began = case.connection, case.began
        if connection is None or connection.source != self.source:
            return None
        claims = connection.history()
        if connection.opaque:
            return self._by_time(case, connection, claims)
        start = connection.sent if began.offset is None else began.offset
        if began.stream == UPSTREAM:
            covers = [c for c in claims if c.length and c.offset <= start < c.end]
            if any(claim.unknown for claim in covers):
                return None
            if covers:
                # Of several, as a connection is shared by threads, none is sure.
                return self._finding(Found(c.request, c.sure, "bytes") for c in covers)
            if self.source == DRIVER:
                return None  # written in a call that is not known yet, or in none
        since = start if began.since is None else began.since
        sent = [c for c in claims if c.length and c.offset < start]
        window = [c for c in sent if c.end > since]
        if any(claim.unknown for claim in window or sent[-1:]):
            return None
        if window:
            return self._waiters(case, connection, claims, window)
        return self._last(case, connection, claims, sent[-1]) if sent else None

    def further(self, case: Case) -> Finding | None:
        """Whose bytes followed while the effect lasted: ``[began.offset, ended.offset)``."""
        connection, began, ended = case.connection, case.began, case.ended
        if connection is None or connection.source != self.source or connection.opaque:
            return None
        if ended is None or began.offset is None or ended.offset is None:
            return None
        claims = [
            c
            for c in connection.history()
            if c.length and c.offset < ended.offset and c.end > began.offset and not c.unknown
        ]
        if began.stream == UPSTREAM:
            return self._finding(Found(c.request, c.sure, "bytes") for c in claims)
        return self._finding(_behind(connection, claim, claim is claims[-1]) for claim in claims)

    def _waiters(
        self, case: Case, connection: Connection, claims: list[Claim], window: list[Claim]
    ) -> Finding:
        """Those whose bytes had not been answered."""
        at = case.began.at
        found = {c.request: None for c in window if c.request is None or c.request.in_flight(at)}
        if not found:
            return self._finding(idle=True)
        # They may have had all of their reply, and then nobody was hit.
        cut = case.began.type in CUTS and not _gave_up(connection, set(found), at)
        late = cut and connection.arrived != connection.answered
        exact = not late and len(found) == 1 and all(c.sure for c in window)
        if exact and connection.shared:
            exact = not _others(claims, at, set(found))
        return self._finding((Found(request, exact, "bytes") for request in found), idle=late)

    def _last(
        self, case: Case, connection: Connection, claims: list[Claim], last: Claim
    ) -> Finding:
        """All has been answered, some of it at least: the last sender, if it still runs."""
        at = case.began.at
        request = last.request
        if request is None or not request.in_flight(at):
            return self._finding(idle=True)
        if case.began.type in CUTS and not _gave_up(connection, {request}, at):
            # It may have had all of its reply, and then nobody was hit.
            return self._finding([Found(request, False, "last")], idle=True)
        exact = last.sure and not _others(claims, at, {request})
        return self._finding([Found(request, exact, "last")])

    def _by_time(self, case: Case, connection: Connection, claims: list[Claim]) -> Finding | None:
        """Offsets mean nothing here: those in flight that had used the connection.

        Of a connection of one user at a time it is the last one, if the replies of those
        before it had come when it began to send.
        """
        at = case.began.at
        sent = [c for c in claims if c.at <= at]
        if sent and sent[-1].unknown:
            return None
        found = {c.request: None for c in sent if c.request and c.request.in_flight(at)}
        if len(found) > 1 and not connection.shared and "h2" not in sys.modules:
            found = {r: None for r in [sent[-1].request] if r}
        exact = len(found) == 1 and all(c.sure for c in sent if c.request in found)
        return self._finding((Found(request, exact, "last") for request in found), not found)

    def _finding(self, found: Iterable[Found] = (), idle: bool = False) -> Finding:
        return Finding(self.source, tuple(found), idle)


def _behind(connection: Connection, claim: Claim, is_last: bool) -> Found:
    """A sender behind a perturbed reply.

    Whoever sent after it, on a connection of one user at a time, had been answered
    within the stretch. The last one may have been answered after it.
    """
    return Found(claim.request, claim.sure and not connection.shared and not is_last, "bytes")


def _gave_up(connection: Connection, found: set[Request | None], at: float) -> bool:
    """Whether a driver has closed it since ``at``, in a failed call of the only one ``found``."""
    return (
        connection.broke is not None
        and found == {connection.broke[0]}
        and at <= connection.broke[1]
    )


def _others(claims: Sequence[Claim], at: float, known: set[Request | None]) -> bool:
    """Whether any other request in flight at ``at`` has used the connection."""
    return any(
        c.request is not None and c.request not in known and c.request.in_flight(at) for c in claims
    )


def ledger(sources: Sources) -> ClaimsEvidence:
    """The kind ``ledger``."""
    return ClaimsEvidence(LEDGER)


def driver(sources: Sources) -> ClaimsEvidence:
    """The kind ``driver``."""
    return ClaimsEvidence(DRIVER)
