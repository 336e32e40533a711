"""Which request a perturbation hit: every evidence asked in its order.

Never asked at "now": a signal can come late. Exact is only what cannot be otherwise; where
several requests are possible they are all named, as possible.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from seism_middleware.contract import (
    CONNECT,
    DRIVER,
    LEDGER,
    Link,
    PerturbationBegan,
    PerturbationEnded,
)
from seism_middleware.evidence.base import Case, Evidence, Finding, Found
from seism_middleware.evidence.claims import ClaimsEvidence
from seism_middleware.evidence.connect import ConnectEvidence
from seism_middleware.ledger import Claim, Connection, Ledger
from seism_middleware.request import Request

RETRIES = (0.002, 0.01, 0.05, 0.2)
"""Seconds after which a connection is looked up again: the proxy can know of it before the
app does, whose ``connect`` has not returned."""
MAX_CASES = 4096
"""Perturbations remembered."""
_INTACT = ("passed", "removed", "enabled")


class Correlator:
    """Resolves perturbations to links.

    ``emit`` is called with each link once, from the thread of the stream or, where the
    request comes after the perturbation, from the request's own.
    """

    def __init__(self, ledger: Ledger, emit: Callable[[Link], None]) -> None:
        self._ledger = ledger
        self._emit = emit
        self._evidence: tuple[Evidence, ...] = (
            ClaimsEvidence(LEDGER),
            ClaimsEvidence(DRIVER),
            ConnectEvidence(ledger),
        )
        self.forget()
        ledger.on_refusal.append(self._refused)

    def forget(self) -> None:
        """Start anew, in a forked child."""
        self._lock = threading.RLock()
        self._cases: dict[str, Case] = {}
        self._waiting: list[Case] = []
        self._down: dict[str, Case] = {}

    def close(self) -> None:
        """Stop listening to the ledger."""
        if self._refused in self._ledger.on_refusal:
            self._ledger.on_refusal.remove(self._refused)

    def began(self, record: PerturbationBegan) -> None:
        """A perturbation began; ``record.at`` is in this process's clock."""
        self._handle(record, None)

    def ended(self, record: PerturbationEnded) -> None:
        """A perturbation ended; ``record.at`` is in this process's clock."""
        case = self._cases.get(record.perturbation)
        if case is not None:
            self._handle(case.began, record)

    def _handle(self, began: PerturbationBegan, ended: PerturbationEnded | None) -> None:
        for link in self.resolve(began, ended):
            self._emit(link)
        case = self._cases[began.perturbation]
        if began.client and case.connection is None and case not in self._waiting:
            case.tries = 0
            case.due = time.monotonic() + RETRIES[0]
            self._waiting.append(case)

    def tick(self, now: float) -> float | None:
        """Look up again what is due at ``now``; the seconds until the next is, None if none."""
        for case in list(self._waiting):
            if case.due > now:
                continue
            for link in self.resolve(case.began, case.ended):
                self._emit(link)
            case.tries += 1
            if case.connection is not None or case.tries >= len(RETRIES):
                self._waiting.remove(case)
            else:
                case.due = now + RETRIES[case.tries] - RETRIES[case.tries - 1]
        return max(0.0, min(c.due for c in self._waiting) - now) if self._waiting else None

    def resolve(
        self, began: PerturbationBegan, ended: PerturbationEnded | None = None
    ) -> list[Link]:
        """The links that are known now and have not been returned or emitted before."""
        with self._lock:
            case = self._case(began)
            case.ended = ended or case.ended
            if not began.client:
                return self._connects(case)
            known = case.connection is not None
            if case.connection is None:
                case.connection = self._ledger.find(began.client, began.listen, began.at)
                if case.connection is None:
                    return []
            links = [] if known else self._links(case, self._first(case))
            if known or case.ended is not None:
                links += self._further(case)
            return links

    def _case(self, began: PerturbationBegan) -> Case:
        case = self._cases.get(began.perturbation)
        if case is None:
            while len(self._cases) >= MAX_CASES:
                self._cases.pop(next(iter(self._cases)))
            case = self._cases[began.perturbation] = Case(began)
        return case

    def _first(self, case: Case) -> Finding | None:
        for evidence in self._evidence:
            finding = evidence.first(case)
            if finding is not None:
                return finding
        return None

    def _further(self, case: Case) -> list[Link]:
        if case.ended is None:
            return []
        if case.ended.outcome in _INTACT and case.connection is not None:
            self._disarm(case, case.connection)
        links: list[Link] = []
        for evidence in self._evidence:
            links += self._links(case, evidence.further(case))
        return links

    def _links(self, case: Case, finding: Finding | None) -> list[Link]:
        if finding is None:
            return []
        links: list[Link] = []
        for found in finding.found:
            links += self._link(case, found, finding.evidence)
        if finding.idle and case.connection is not None:
            links += self._idle(case, case.connection)
        return links

    def _link(self, case: Case, found: Found, evidence: str, role: str = "hit") -> list[Link]:
        """The link as a list, an empty one if that request has been linked already."""
        key = found.request.id if found.request is not None else None
        with self._lock:
            if key in case.linked:
                return []
            case.linked[key] = role
        return [Link(case.began.perturbation, key, evidence, found.exact, role, found.how)]

    def _idle(self, case: Case, connection: Connection) -> list[Link]:
        """Nobody waited: the first one to use the connection after it is harmed."""

        def harmed(claim: Claim) -> list[Link]:
            found = Found(claim.request, claim.sure, "last")
            return self._link(case, found, connection.source, "harmed")

        def sprung(claim: Claim) -> None:
            for link in harmed(claim):
                self._emit(link)

        # Set first, then look: a claim made in between is found, and linked once only.
        case.trap = connection.trap = sprung
        for claim in connection.history():
            if claim.at >= case.began.at:
                self._disarm(case, connection)
                return harmed(claim)
        return []

    def _disarm(self, case: Case, connection: Connection) -> None:
        if case.trap is not None and connection.trap is case.trap:
            connection.trap = None
        case.trap = None

    def _connects(self, case: Case) -> list[Link]:
        """A proxy that is down has no connection: connects that fail are told one by one."""
        if case.ended is None:
            self._down[case.began.perturbation] = case
        else:
            self._down.pop(case.began.perturbation, None)
        return self._links(case, self._first(case))

    def _refused(self, at: float, backend: str, request: Request) -> None:
        for case in list(self._down.values()):
            if case.began.proxy == backend and case.began.at <= at:
                for link in self._link(case, Found(request, True), CONNECT):
                    self._emit(link)
