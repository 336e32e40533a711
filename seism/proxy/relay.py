"""What all connections of one event loop share."""

from __future__ import annotations

from typing import Any

from seism.clock import Clock
from seism.proxy.follow import Follow
from seism.proxy.perturbation import Account
from seism.proxy.poller import Poller
from seism.proxy.pump import SMALL
from seism.proxy.timers import Timers
from seism.rng import Seed


class Relay:
    """Loop, time, chance, account, and a buffer.

    One buffer is enough: a callback copies what it has read before it returns to the loop.
    """

    __slots__ = ("account", "clock", "follow", "loop", "poller", "seed", "small", "timers")

    def __init__(self, loop: Any, clock: Clock, seed: Seed, account: Account) -> None:
        self.loop = loop
        self.clock = clock
        self.seed = seed
        self.account = account
        self.timers = Timers(loop, clock)
        self.follow: Follow | None = None
        """What follows the connections of the proxy in front of the app."""
        self.poller = Poller(loop)
        self.small = memoryview(bytearray(SMALL))

    def close(self) -> None:
        self.timers.close()
        self.poller.close()
