"""What all connections of one event loop share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from seism.clock import Clock
from seism.proxy.pending import LostExchanges
from seism.proxy.perturbation import Account
from seism.proxy.poller import Poller
from seism.proxy.pump import SMALL
from seism.proxy.timers import Timers
from seism.proxy.witness import Tell
from seism.rng import Seed


class StreamFollower(Protocol):
    """Follows what is said on one connection; it must neither block nor raise."""

    asked: int
    """Requests that have begun."""

    def upstream(self, data: bytes) -> bytes:
        """The client's next bytes on their way to the app; what to send of them now."""

    def read_size(self, stream: str) -> int:
        """How many bytes of ``stream`` may come at once."""

    def upstream_end(self) -> bytes:
        """The client has said all; what is still to be sent."""

    def downstream(self, data: bytes) -> None:
        """The app's next bytes, before the client's line has them."""

    def passed(self) -> None:
        """The toxics of the client's line have seen these bytes."""

    def downstream_end(self) -> None:
        """The app has said all."""

    def close(self) -> None:
        """The connection is over."""


Follow = Callable[[str], StreamFollower]
"""Makes the follower of a new client's connection, given its ``host:port``."""


class Relay:
    """Loop, time, chance, account, and a buffer.

    One buffer is enough: a callback copies what it has read before it returns to the loop.
    """

    __slots__ = (
        "account",
        "changing",
        "clock",
        "follow",
        "loop",
        "lost",
        "poller",
        "seed",
        "small",
        "timers",
    )

    def __init__(self, loop: Any, clock: Clock, seed: Seed, account: Account) -> None:
        self.loop = loop
        self.clock = clock
        self.seed = seed
        self.account = account
        self.timers = Timers(loop, clock)
        self.lost = LostExchanges(self.timers, clock)
        self.follow: Follow | None = None
        """What follows the connections of the proxy in front of the app."""
        self.changing: Tell | None = None
        """Takes the exchanges that change something, if anybody wants to know."""
        self.poller = Poller(loop)
        self.small = memoryview(bytearray(SMALL))

    def close(self) -> None:
        self.lost.close()
        self.timers.close()
        self.poller.close()
