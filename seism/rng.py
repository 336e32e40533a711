"""The only source of chance: one seed, many named streams.

A stream's draws depend on the seed and on its name alone, so one more toxic, worker
or connection never changes what another one draws.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import deque

KEPT = 8
"""Draws that a ``Journalled`` generator keeps for the journal."""


class Journalled(random.Random):
    """A generator that counts its draws and remembers the last few.

    Every method of ``random.Random`` draws through ``random()``, so the count and the
    stream's name are enough to draw the same again.
    """

    draws = 0
    """How often it has drawn so far."""

    def __init__(self, seed: bytes) -> None:
        self._last: deque[float] = deque(maxlen=KEPT)
        super().__init__(seed)

    def random(self) -> float:
        value = super().random()
        self.draws += 1
        self._last.append(round(value, 6))
        return value

    def take(self) -> tuple[float, ...]:
        """The last draws since the last ``take``, in order, to six digits."""
        taken = tuple(self._last)
        self._last.clear()
        return taken


class Seed:
    """The root of all chance in one run."""

    def __init__(self, value: int) -> None:
        self.value = value

    def stream(self, *names: object) -> random.Random:
        """The generator called ``names``, at its start."""
        return random.Random(self._digest(names))

    def journalled(self, *names: object) -> Journalled:
        """The same draws, for a generator whose draws are to be told."""
        return Journalled(self._digest(names))

    def _digest(self, names: tuple[object, ...]) -> bytes:
        # JSON, because a plain separator could be part of a name.
        key = json.dumps([self.value, *map(str, names)])
        return hashlib.sha256(key.encode()).digest()
