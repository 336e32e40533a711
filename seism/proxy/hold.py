"""Who wants to look before a toxic acts, and what waits for that.

An observer that cannot tell afterwards who was hit asks for this, connection by connection
(``Hold`` in the contract). It says ``Looked`` as soon as it can; it is never waited for longer
than ``limit`` seconds. Until then the link stands still, its other direction does not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from seism.clock import Clock
from seism.proxy.timers import Timer, Timers

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
