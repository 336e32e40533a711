"""Which request a perturbation hit: every evidence asked in its order.

Never asked at "now": a signal can come late. Exact is only what cannot be otherwise; where
several requests are possible they are all named, as possible.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from seism_middleware import harm, native
from seism_middleware.bounded import Bounded
from seism_middleware.contract import (
    CONNECT,
    TRACE,
    UPSTREAM,
    Attribution,
    Harm,
    Hold,
    Looked,
    PerturbationBegan,
    PerturbationEnded,
)
from seism_middleware.evidence import registered
from seism_middleware.evidence.base import Case, Finding, Found, Sources
from seism_middleware.evidence.connect import belongs
from seism_middleware.evidence.kernel import KernelEvidence
from seism_middleware.evidence.overlap import OverlapEvidence
from seism_middleware.ledger import FailedConnect, Ledger
from seism_middleware.snapshot import snapshot
from seism_middleware.traffic import Claim, Connection, Request

GRACE = 1.0
"""Seconds after its end for which a perturbation of an unknown connection may become known: a
driver may still be connecting."""
MAX_CASES = 4096
"""Perturbations remembered."""
MAX_OUTAGES = 64
"""Outages of proxies remembered."""
_INTACT = ("passed", "removed", "enabled")


class Correlator:
    """Attributes perturbations to requests.

    ``emit`` is called with each attribution once, from the thread of the stream or, where the
    connection or the request comes after the perturbation, from the request's own. ``say``
    takes other records for the sidecar, ``running`` gives the requests in flight, ``blind``
    tells whether the process may have connections that the ledger does not see, ``look`` has
    the drivers' connections looked for that are not known yet, and ``unfollowed`` tells whether
    there may be some that no driver's patch will ever tell of.
    """

    def __init__(
        self,
        ledger: Ledger,
        emit: Callable[[Attribution], None],
        say: Callable[[Harm | Hold | Looked], None] = lambda record: None,
        recent: Callable[[], Iterable[Request]] = tuple,
        blind: Callable[[], bool] = bool,
        look: Callable[[], None] = lambda: None,
        unfollowed: Callable[[], bool] = bool,
    ) -> None:
        self._ledger = ledger
        self._emit = emit
        self._say = say
        self._look = look
        self._unfollowed = unfollowed
        sources = Sources(ledger, recent, blind, lambda clients: say(Hold(tuple(clients))))
        self._kernel = KernelEvidence(sources.ledger, sources.blind, sources.hold)
        self._evidence = registered(sources)
        self._overlap = OverlapEvidence(recent)
        self.forget()
        ledger.on_refusal.append(self._refused)
        ledger.on_connection.append(self._connected)
        ledger.on_broken.append(self._broken)

    def forget(self) -> None:
        """Start anew, in a forked child."""
        self._lock = native.rlock()
        self._cases: Bounded[str, Case] = Bounded(MAX_CASES, self._known)
        self._unknown: dict[str, list[Case]] = {}
        """By the client's address: whose connection has not been seen here."""
        self._down: Bounded[str, Case] = Bounded(MAX_OUTAGES)
        """Those that are over, too: a connect that failed meanwhile may be told of later."""

    def start_anew(self) -> None:
        """Another sidecar has taken over, and gives the same ids to other perturbations."""
        with self._lock:
            for case in self._cases.values():
                if case.connection is not None:
                    self._disarm(case, case.connection)
            for known in (self._cases, self._unknown, self._down):
                known.clear()

    def close(self) -> None:
        """Stop listening to the ledger."""
        if self._refused in self._ledger.on_refusal:
            self._ledger.on_refusal.remove(self._refused)
            self._ledger.on_connection.remove(self._connected)
            self._ledger.on_broken.remove(self._broken)

    def began(self, record: PerturbationBegan) -> bool:
        """A perturbation began; ``record.at`` is in this process's clock. Whether it is news:
        a worker whose stream was opened anew is told again of what it may have missed.
        """
        if record.perturbation in self._cases:
            return False
        if record.client and self._ledger.find(record.client, record.listen, record.at) is None:
            self._look()  # whoever was hit may be waiting for the reply
        self._handle(record, None)
        return True

    def ended(self, record: PerturbationEnded) -> bool:
        """A perturbation ended; ``record.at`` is in this process's clock. Whether it is news."""
        case = self._cases.get(record.perturbation)
        if case is None:
            return True
        if case.ended is not None:
            return False
        self._handle(case.began, record)
        if case.connection is not None:
            for found in harm.perturbed(case.connection, case.began, record):
                self._say(found)
        return True

    def _handle(self, began: PerturbationBegan, ended: PerturbationEnded | None) -> None:
        for attribution in self.resolve(began, ended):
            self._emit(attribution)
        if began.hold and ended is None:
            self._say(Looked(began.perturbation))

    def _connected(self, connection: Connection) -> None:
        """The proxy can know of a connection before the app does, whose connect is not over."""
        for case in list(self._unknown.get(connection.local, ())):
            for attribution in self.resolve(case.began, case.ended):
                self._emit(attribution)

    def _broken(self, connection: Connection) -> None:
        """A driver has given the connection up, which may prove what was only possible so far."""
        for case in snapshot(self._cases.values()):
            finding = self._first(case) if case.connection is connection else None
            if finding is None or not finding.exact:
                continue
            for found in finding.found:
                key = found.request.id if found.request is not None else None
                with self._lock:
                    known = case.attributed.get(key) == "hit" and key not in case.sure
                    if known:
                        case.sure.add(key)
                if known:
                    self._emit(self._attribution(case, found, finding.evidence, "hit"))

    def tick(self, now: float) -> float | None:
        """Say of what is due at ``now`` what is possible; the seconds until the next is."""
        due = []
        with self._lock:
            waiting = [case for cases in self._unknown.values() for case in cases]
            for case in waiting:
                if case.due is not None and case.due <= now:
                    self._known(case)
                    due.append(case)
            left = [case.due for case in waiting if case.due is not None and case.due > now]
        if any(case.owned and not case.began.hold for case in due):
            self._kernel.ask()
        for case in due:
            for attribution in self._attributions(case, None if case.attributed else case.possible):
                self._emit(attribution)
        return min(left) - now if left else None

    def resolve(
        self, began: PerturbationBegan, ended: PerturbationEnded | None = None
    ) -> list[Attribution]:
        """The attributions that are known now and have not been returned or emitted before."""
        with self._lock:
            new = began.perturbation not in self._cases
            case = self._case(began)
            case.ended = ended or case.ended
            if not began.client:
                return self._connects(case)
            attributions: list[Attribution] = []
            if case.connection is None:
                case.connection = self._ledger.find(began.client, began.listen, began.at)
                if case.connection is None:
                    return self._wait(case, new)
                self._known(case)
                attributions = self._attributions(case, self._first(case))
            return attributions + self._further(case)

    def _wait(self, case: Case, new: bool) -> list[Attribution]:
        """The connection is not known; it may be another worker's."""
        if case.ended is not None and case.due is None:
            case.due = time.monotonic() + GRACE
        if not new:
            return []
        self._unknown.setdefault(case.began.client, []).append(case)
        finding = self._first(case)
        if finding is not None and finding.exact:
            return self._attributions(case, finding)
        if case.owned:
            case.possible = finding or self._overlap.first(case)
            if not case.began.hold and self._unfollowed():
                self._kernel.ask()  # what hits it next is seen while the proxy holds it
        return []

    def _known(self, case: Case) -> None:
        """Nobody waits any more to see whose connection it was."""
        client = case.began.client
        rest = [each for each in self._unknown.get(client, ()) if each is not case]
        if rest:
            self._unknown[client] = rest
        else:
            self._unknown.pop(client, None)

    def _case(self, began: PerturbationBegan) -> Case:
        case = self._cases.get(began.perturbation)
        if case is None:
            case = self._cases[began.perturbation] = Case(began)
        return case

    def _first(self, case: Case) -> Finding | None:
        """The first answer; where another exact one names others, both are possible only."""
        answer: Finding | None = None
        for evidence in self._evidence.values():
            finding = evidence.first(case)
            if finding is None:
                continue
            if answer is None:
                answer = finding
            elif answer.exact and finding.exact and answer.requests != finding.requests:
                both = (*answer.found, *finding.found)
                return Finding(answer.evidence, tuple(replace(f, exact=False) for f in both))
            if answer.evidence != TRACE:
                break
        if answer is None and case.connection is not None:
            return self._overlap.first(case)
        return answer

    def _further(self, case: Case) -> list[Attribution]:
        if case.ended is None:
            return []
        if case.ended.outcome in _INTACT and case.connection is not None:
            self._disarm(case, case.connection)
        attributions: list[Attribution] = []
        for evidence in self._evidence.values():
            attributions += self._attributions(case, evidence.further(case))
        return attributions

    def _attributions(self, case: Case, finding: Finding | None) -> list[Attribution]:
        if finding is None:
            return []
        attributions: list[Attribution] = []
        for found in finding.found:
            attributions += self._attribute(case, found, finding.evidence)
        if finding.idle and case.connection is not None:
            attributions += self._idle(case, case.connection)
        return attributions

    def _attribute(
        self, case: Case, found: Found, evidence: str, role: str = "hit"
    ) -> list[Attribution]:
        """The attribution as a list, an empty one if that request has its own already."""
        key = found.request.id if found.request is not None else None
        with self._lock:
            if key in case.attributed:
                return []
            case.attributed[key] = role
            if found.exact:
                case.sure.add(key)
        return [self._attribution(case, found, evidence, role)]

    def _attribution(self, case: Case, found: Found, evidence: str, role: str) -> Attribution:
        key = found.request.id if found.request is not None else None
        send = _send(case, found.request)
        return Attribution(
            case.began.perturbation, key, evidence, found.exact, role, found.how, send
        )

    def _idle(self, case: Case, connection: Connection) -> list[Attribution]:
        """Nobody waited: the first one to use the connection after it is harmed."""

        def harmed(claim: Claim) -> list[Attribution]:
            found = Found(claim.request, claim.sure, "last")
            return self._attribute(case, found, connection.source, "harmed")

        def sprung(claim: Claim) -> None:
            for attribution in harmed(claim):
                self._emit(attribution)

        # Set first, then look: a claim made in between is found, and attributed to once only.
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

    def _connects(self, case: Case) -> list[Attribution]:
        """A proxy that is down has no connection: connects that fail are told one by one."""
        self._down[case.began.perturbation] = case
        return self._attributions(case, self._first(case))

    def _refused(self, failed: FailedConnect) -> None:
        for case in sorted(snapshot(self._down.values()), key=lambda case: case.began.at):
            if belongs(failed, case):
                for attribution in self._attribute(case, Found(failed.request, True), CONNECT):
                    self._emit(attribution)


def _send(case: Case, request: Request | None) -> int:
    """``Attribution.send``: how many of its sends had begun where the perturbation did."""
    connection, began = case.connection, case.began
    if request is None or connection is None or connection.opaque or began.offset is None:
        return 0
    end = began.offset + (began.stream == UPSTREAM)
    return sum(c.request is request and c.offset < end for c in connection.history() if c.length)
