"""The account of perturbations: each that begins is ended, exactly once.

An observer that cannot tell afterwards who was hit asks to look before a toxic acts, connection
by connection (``Hold`` in the contract). It says ``Looked`` as soon as it can; it is never
waited for longer than ``limit`` seconds. Until then the link stands still, its other direction
does not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from seism.clock import Clock
from seism.proxy.timers import Timer, Timers
from seism_middleware.contract import (
    TRACEPARENT,
    PerturbationBegan,
    PerturbationEnded,
    PerturbedExchange,
)

logger = logging.getLogger(__name__)

Emit = Callable[[PerturbationBegan | PerturbationEnded], None]
"""Takes each record as it happens. Called on the event loop: it must not block."""


@dataclass(frozen=True, slots=True)
class PerturbedConnection:
    """The fields of ``PerturbationBegan`` that say on which connection."""

    client: str = ""
    listen: str = ""
    source: str = ""
    number: int | None = None


@dataclass(frozen=True, slots=True)
class ToxicEffect:
    """The fields of ``PerturbationBegan`` that say on which bytes, or on which exchange."""

    stream: str = ""
    offset: int | None = None
    since: int | None = None
    chance: float | None = None
    exchange: PerturbedExchange | None = None
    trace: str = ""


class Perturbation:
    """One that has begun; the only way to end it is here, and a second end is ignored."""

    __slots__ = ("_account", "_client", "_held_seconds", "id", "open")

    def __init__(self, account: Account, id: str, client: str = "") -> None:
        self._account = account
        self._client = client
        self._held_seconds = 0.0
        self.id = id
        self.open = True

    def wait(self, go_on: Callable[[], None]) -> bool:
        """Whether an observer looks first; then ``go_on`` is called once it has, or in time."""
        holds = self._account.holds
        if not self.open or holds is None or not holds.wanted(self._client):
            return False

        def release(held: float) -> None:
            self._held_seconds = held
            go_on()

        holds.wait(self.id, self._client, release)
        return True

    def end(
        self,
        outcome: str,
        offset: int | None = None,
        draws: int = 0,
        drawn: tuple[float, ...] = (),
        asked: tuple[int, ...] = (),
        answers: tuple[int, ...] = (),
        request_size: int | None = None,
        reply_size: int | None = None,
        replied: float | None = None,
    ) -> None:
        """The fields are those of ``PerturbationEnded``."""
        if self.open:
            self.open = False
            now = self._account.now()
            self._account.ended(
                PerturbationEnded(
                    self.id,
                    now,
                    outcome,
                    offset,
                    draws,
                    drawn,
                    held=self._held_seconds,
                    asked=asked,
                    answers=answers,
                    request_size=request_size,
                    reply_size=reply_size,
                    replied=replied,
                )
            )


class Account:
    """Numbers perturbations ``p1``, ``p2``, ... and emits their two records."""

    def __init__(self, emit: Emit, clock: Clock) -> None:
        self._emit = emit
        self.now = clock.now
        self._count = 0
        self.holds: Holds | None = None
        """Who wants to look before a toxic acts; None: nobody may."""

    def begin(
        self,
        proxy: str,
        toxic: str,
        type: str,
        connection: PerturbedConnection | None = None,
        effect: ToxicEffect | None = None,
    ) -> Perturbation:
        """Emits the begin; a proxy that is down has neither ``connection`` nor ``effect``."""
        self._count += 1
        connection = connection or PerturbedConnection()
        effect = effect or ToxicEffect()
        perturbation = Perturbation(self, f"p{self._count}", connection.client)
        # A reset that nobody has asked for has no stage that could wait.
        holds = self.holds if effect.stream else None
        self._say(
            PerturbationBegan(
                perturbation=perturbation.id,
                proxy=proxy,
                toxic=toxic,
                type=type,
                at=self.now(),
                stream=effect.stream,
                client=connection.client,
                listen=connection.listen,
                source=connection.source,
                offset=effect.offset,
                since=effect.since,
                connection=connection.number,
                chance=effect.chance,
                exchange=effect.exchange,
                trace=effect.trace,
                hold=holds.wanted(connection.client) if holds is not None else 0.0,
            )
        )
        return perturbation

    def ended(self, record: PerturbationEnded) -> None:
        """Emits the end."""
        self._say(record)

    def _say(self, record: PerturbationBegan | PerturbationEnded) -> None:
        try:
            self._emit(record)
        except Exception:
            # A receiver's mistake must not become a fault that nobody asked for.
            logger.exception("%s could not be handed on", record)


MOST = 4096
"""Connections remembered per owner."""


class Holds:
    """All that is held on one event loop; an owner is whoever asked, a worker say."""

    def __init__(self, timers: Timers, clock: Clock, limit: float) -> None:
        self.limit = limit
        """Seconds; 0: nothing is ever held."""
        self._timers = timers
        self._clock = clock
        self._asked: dict[Hashable, dict[str, None]] = {}
        self._waiting: dict[str, _Waiting] = {}

    def ask(self, owner: Hashable, clients: Iterable[str]) -> None:
        """Hold from now on what is perturbed on the connections of ``clients`` (host:port)."""
        asked = self._asked.setdefault(owner, {})
        asked.update(dict.fromkeys(clients))
        while len(asked) > MOST:
            del asked[next(iter(asked))]

    def forget(self, owner: Hashable) -> None:
        """It is gone: nothing waits for it any more."""
        self._asked.pop(owner, None)
        for perturbation, waiting in list(self._waiting.items()):
            if waiting.owner is owner:
                self._go_on(perturbation)

    def wanted(self, client: str) -> float:
        """Seconds for which a perturbation of this client's connection is to be held."""
        return self.limit if self._owner(client) is not None else 0.0

    def wait(self, perturbation: str, client: str, release: Callable[[float], None]) -> None:
        """Call ``release`` with the seconds that it took, once the owner has looked, is gone,
        or has had its time."""
        now = self._clock.now()
        timer = self._timers.at(now + self.limit, lambda: self._go_on(perturbation))
        self._waiting[perturbation] = _Waiting(self._owner(client), now, timer, release)

    def looked(self, owner: Hashable, perturbation: str) -> None:
        """``owner`` has looked; what others say does not matter."""
        waiting = self._waiting.get(perturbation)
        if waiting is not None and waiting.owner is owner:
            self._go_on(perturbation)

    def _owner(self, client: str) -> Hashable:
        if self.limit:
            for owner, clients in self._asked.items():
                if client in clients:
                    return owner
        return None

    def _go_on(self, perturbation: str) -> None:
        waiting = self._waiting.pop(perturbation, None)
        if waiting is not None:
            waiting.timer.cancel()
            waiting.release(self._clock.now() - waiting.since)


@dataclass(frozen=True, slots=True)
class _Waiting:
    owner: Hashable
    since: float
    timer: Timer
    release: Callable[[float], None]


_TRACEPARENT = re.compile(rf"(?i:traceparent)['\"]?\s*[:=]\s*['\"]?{TRACEPARENT}".encode())


def trace_of(data: bytes) -> str:
    """The id of the one trace that ``data`` names; empty if it names none, or several."""
    found = {match[1] for match in _TRACEPARENT.finditer(data)}
    return found.pop().decode() if len(found) == 1 else ""
