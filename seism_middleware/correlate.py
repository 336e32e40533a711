"""Which request a perturbation hit: the send ledger, asked at the proxy's byte offset.

Never asked at "now": a signal can come late. Exact is only what cannot be otherwise; where
several requests are possible they are all named, as possible.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from seism_middleware import harm
from seism_middleware.contract import UPSTREAM, Harm, Link, PerturbationBegan, PerturbationEnded
from seism_middleware.ledger import Claim, Connection, Ledger
from seism_middleware.request import Request

RETRIES = (0.002, 0.01, 0.05, 0.2)
"""Seconds after which a connection is looked up again: the proxy can know of it before the
app does, whose ``connect`` has not returned."""
MAX_STATES = 4096
"""Perturbations remembered."""
CUTS = ("down", "timeout", "reset_peer")
"""Types that need no bytes to take effect, so that they can break an idle connection."""
_INTACT = ("passed", "removed", "enabled")


class _State:
    """One perturbation and who has been linked to it."""

    __slots__ = ("began", "connection", "due", "ended", "linked", "trap", "tries")

    def __init__(self, began: PerturbationBegan) -> None:
        self.began = began
        self.ended: PerturbationEnded | None = None
        self.connection: Connection | None = None
        self.linked: dict[str | None, str] = {}
        """Request's id -> role."""
        self.trap: Callable[[Claim], None] | None = None
        self.tries = 0
        self.due = 0.0


class Correlator:
    """Resolves perturbations to links.

    ``emit`` is called with each link once, from the thread of the stream or, where the
    request comes after the perturbation, from the request's own.
    """

    def __init__(
        self,
        ledger: Ledger,
        emit: Callable[[Link], None],
        harmed: Callable[[Harm], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._emit = emit
        self._harmed = harmed
        self.forget()
        ledger.on_refusal.append(self._refused)

    def forget(self) -> None:
        """Start anew, in a forked child."""
        self._lock = threading.RLock()
        self._states: dict[str, _State] = {}
        self._waiting: list[_State] = []
        self._down: dict[str, _State] = {}

    def close(self) -> None:
        """Stop listening to the ledger."""
        if self._refused in self._ledger.on_refusal:
            self._ledger.on_refusal.remove(self._refused)

    def began(self, record: PerturbationBegan) -> None:
        """A perturbation began; ``record.at`` is in this process's clock."""
        self._handle(record, None)

    def ended(self, record: PerturbationEnded) -> None:
        """A perturbation ended; ``record.at`` is in this process's clock."""
        state = self._states.get(record.perturbation)
        if state is not None:
            self._handle(state.began, record)
            if state.connection is not None:
                for found in harm.perturbed(state.connection, state.began, record):
                    self._harmed(found)

    def _handle(self, began: PerturbationBegan, ended: PerturbationEnded | None) -> None:
        for link in self.resolve(began, ended):
            self._emit(link)
        state = self._states[began.perturbation]
        if began.client and state.connection is None and state not in self._waiting:
            state.tries = 0
            state.due = time.monotonic() + RETRIES[0]
            self._waiting.append(state)

    def tick(self, now: float) -> float | None:
        """Look up again what is due at ``now``; the seconds until the next is, None if none."""
        for state in list(self._waiting):
            if state.due > now:
                continue
            for link in self.resolve(state.began, state.ended):
                self._emit(link)
            state.tries += 1
            if state.connection is not None or state.tries >= len(RETRIES):
                self._waiting.remove(state)
            else:
                state.due = now + RETRIES[state.tries] - RETRIES[state.tries - 1]
        return max(0.0, min(s.due for s in self._waiting) - now) if self._waiting else None

    def resolve(
        self, began: PerturbationBegan, ended: PerturbationEnded | None = None
    ) -> list[Link]:
        """The links that are known now and have not been returned or emitted before."""
        with self._lock:
            state = self._state(began)
            state.ended = ended or state.ended
            if not began.client:
                return self._connects(state)
            if state.connection is None:
                state.connection = self._ledger.find(began.client, began.listen, began.at)
                if state.connection is None:
                    return []
                links = self._first(state, state.connection)
            else:
                links = []
            if state.ended is not None:
                links += self._further(state, state.connection, state.ended)
            return links

    def _state(self, began: PerturbationBegan) -> _State:
        state = self._states.get(began.perturbation)
        if state is None:
            while len(self._states) >= MAX_STATES:
                self._states.pop(next(iter(self._states)))
            state = self._states[began.perturbation] = _State(began)
        return state

    def _link(
        self,
        state: _State,
        request: Request | None,
        exact: bool,
        how: str,
        role: str = "hit",
        evidence: str = "ledger",
    ) -> list[Link]:
        """The link as a list, an empty one if that request has been linked already."""
        key = request.id if request is not None else None
        with self._lock:
            if key in state.linked:
                return []
            state.linked[key] = role
        return [Link(state.began.perturbation, key, evidence, exact, role, how)]

    def _first(self, state: _State, connection: Connection) -> list[Link]:
        """Who was hit when the perturbation began."""
        began = state.began
        claims = connection.history()
        if connection.opaque:
            return self._by_time(state, connection, claims)
        start = connection.sent if began.offset is None else began.offset
        if began.stream == UPSTREAM:
            for claim in reversed(claims):
                if claim.length and claim.offset <= start < claim.end:
                    return self._link(state, claim.request, claim.sure, "bytes")
        since = start if began.since is None else began.since
        sent = [c for c in claims if c.length and c.offset < start]
        window = [c for c in sent if c.end > since]
        if window:
            return self._waiters(state, connection, claims, window)
        if not sent:
            return self._opener(state, connection)
        return self._last(state, connection, claims, sent[-1])

    def _waiters(
        self, state: _State, connection: Connection, claims: list[Claim], window: list[Claim]
    ) -> list[Link]:
        """Those whose bytes had not been answered."""
        at = state.began.at
        found = {c.request: None for c in window if c.request is None or c.request.in_flight(at)}
        if not found:
            return self._idle(state, connection)
        if state.began.type in CUTS and connection.arrived != connection.answered:
            # They may have had all of their reply, and then nobody was hit.
            return [
                link for request in found for link in self._link(state, request, False, "bytes")
            ] + self._idle(state, connection)
        exact = len(found) == 1 and all(c.sure for c in window)
        if exact and connection.shared:
            exact = not _others(claims, at, set(found))
        return [link for request in found for link in self._link(state, request, exact, "bytes")]

    def _last(
        self, state: _State, connection: Connection, claims: list[Claim], last: Claim
    ) -> list[Link]:
        """All has been answered, some of it at least: the last sender, if it still runs."""
        at = state.began.at
        request = last.request
        if request is None or not request.in_flight(at):
            return self._idle(state, connection)
        if state.began.type in CUTS:
            # It may have had all of its reply, and then nobody was hit.
            return self._link(state, request, False, "last") + self._idle(state, connection)
        exact = last.sure and not _others(claims, at, {request})
        return self._link(state, request, exact, "last")

    def _by_time(self, state: _State, connection: Connection, claims: list[Claim]) -> list[Link]:
        """Offsets mean nothing here: those in flight that had used the connection."""
        at = state.began.at
        found = {
            c.request: None for c in claims if c.at <= at and c.request and c.request.in_flight(at)
        }
        if not found:
            return self._idle(state, connection)
        exact = len(found) == 1 and all(c.sure for c in claims if c.request in found)
        return [link for request in found for link in self._link(state, request, exact, "last")]

    def _opener(self, state: _State, connection: Connection) -> list[Link]:
        """Nothing had been sent: the event is at accept."""
        opener = connection.opener
        if opener is not None and opener.in_flight(state.began.at):
            return self._link(state, opener, True, "", evidence="connect")
        return self._idle(state, connection)

    def _idle(self, state: _State, connection: Connection) -> list[Link]:
        """Nobody waited: the first one to use the connection after it is harmed."""

        def sprung(claim: Claim) -> None:
            for link in self._link(state, claim.request, claim.sure, "last", "harmed"):
                self._emit(link)

        # Set first, then look: a claim made in between is found, and linked once only.
        state.trap = connection.trap = sprung
        for claim in connection.history():
            if claim.at >= state.began.at:
                self._disarm(state, connection)
                return self._link(state, claim.request, claim.sure, "last", "harmed")
        return []

    def _disarm(self, state: _State, connection: Connection) -> None:
        if state.trap is not None and connection.trap is state.trap:
            connection.trap = None
        state.trap = None

    def _further(
        self, state: _State, connection: Connection, ended: PerturbationEnded
    ) -> list[Link]:
        """Whose bytes followed while the effect lasted: ``[began.offset, ended.offset)``."""
        if ended.outcome in _INTACT:
            self._disarm(state, connection)
        if state.began.offset is None or ended.offset is None or connection.opaque:
            return []
        claims = [
            c
            for c in connection.history()
            if c.length and c.offset < ended.offset and c.end > state.began.offset
        ]
        links: list[Link] = []
        for claim in claims:
            if state.began.stream == UPSTREAM:
                links += self._link(state, claim.request, claim.sure, "bytes")
            else:
                links += self._behind(state, connection, claim, claim is claims[-1])
        return links

    def _behind(
        self, state: _State, connection: Connection, claim: Claim, is_last: bool
    ) -> list[Link]:
        """A sender behind a perturbed reply.

        Whoever sent after it, on a connection of one user at a time, had been answered
        within the stretch. The last one may have been answered after it.
        """
        exact = claim.sure and not connection.shared and not is_last
        return self._link(state, claim.request, exact, "bytes")

    def _connects(self, state: _State) -> list[Link]:
        """A proxy that is down: whose connects failed meanwhile."""
        began, ended = state.began, state.ended
        if ended is None:
            self._down[began.perturbation] = state
        else:
            self._down.pop(began.perturbation, None)
        until = ended.at if ended else float("inf")
        links: list[Link] = []
        for at, backend, request in list(self._ledger.refusals):
            if backend == began.proxy and began.at <= at <= until:
                links += self._link(state, request, True, "", evidence="connect")
        return links

    def _refused(self, at: float, backend: str, request: Request) -> None:
        for state in list(self._down.values()):
            if state.began.proxy == backend and state.began.at <= at:
                for link in self._link(state, request, True, "", evidence="connect"):
                    self._emit(link)


def _others(claims: Sequence[Claim], at: float, known: set[Request | None]) -> bool:
    """Whether any other request in flight at ``at`` has used the connection."""
    return any(
        c.request is not None and c.request not in known and c.request.in_flight(at) for c in claims
    )
