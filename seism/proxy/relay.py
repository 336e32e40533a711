"""What all connections of one event loop share."""

from __future__ import annotations

from typing import Any

from seism.clock import Clock
from seism.proxy.perturbation import Account
from seism.proxy.timers import Timers
from seism.rng import Seed

SMALL = 64 * 1024
"""Bytes read at once from a link, until it fills that."""
LARGE = 256 * 1024
"""Bytes read at once from a link that has filled a small buffer."""


class Relay:
    """Loop, time, chance, account, and two buffers.

    One pair of buffers is enough: a callback sends or copies what it has read before
    it returns to the loop.
    """

    __slots__ = ("account", "clock", "large", "loop", "seed", "small", "timers")

    def __init__(self, loop: Any, clock: Clock, seed: Seed, account: Account) -> None:
        self.loop = loop
        self.clock = clock
        self.seed = seed
        self.account = account
        self.timers = Timers(loop, clock)
        self.small = memoryview(bytearray(SMALL))
        self.large = memoryview(bytearray(LARGE))

    def close(self) -> None:
        self.timers.close()
