"""The only source of chance: one seed, many named streams.

A stream's draws depend on the seed and on its name alone, so one more toxic, worker
or connection never changes what another one draws.
"""

from __future__ import annotations

import hashlib
import json
import random


class Seed:
    """The root of all chance in one run."""

    def __init__(self, value: int) -> None:
        self.value = value

    def stream(self, *names: object) -> random.Random:
        """The generator called ``names``, at its start."""
        # JSON, because a plain separator could be part of a name.
        key = json.dumps([self.value, *map(str, names)])
        return random.Random(hashlib.sha256(key.encode()).digest())
