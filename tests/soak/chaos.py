"""Random toxics, valid ones, for each kind of proxy that the soak has."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Attributes = Callable[[random.Random], dict[str, Any]]


def _time(rng: random.Random) -> int:
    """Milliseconds: nothing, a little, or more than any soak takes."""
    return rng.choice((0, rng.randint(1, 50), rng.randint(50, 500), 3_600_000))


DELAYING: dict[str, Attributes] = {
    "noop": lambda rng: {},
    "latency": lambda rng: {
        "latency": _time(rng),
        "jitter": rng.choice((0, 5, 200)),
        "distribution": rng.choice(("uniform", "normal", "pareto", "lognormal")),
    },
    "bandwidth": lambda rng: {
        "rate": rng.choice((0, 1, 100, 10_000, 1_000_000_000)),
        "shared": rng.random() < 0.5,
    },
    "slow_close": lambda rng: {"delay": _time(rng)},
    "slicer": lambda rng: {
        "average_size": rng.choice((1, 10, 1000, 100_000)),
        "size_variation": rng.choice((0, 1)),
        "delay": rng.choice((0, 10, 1000, 100_000)),
    },
    "stall": lambda rng: {"chance": rng.choice((0.01, 0.5, 1)), "timeout": rng.choice((0, 5, 200))},
    "connect_delay": lambda rng: {"delay": _time(rng)},
    "late": lambda rng: {
        "delay": _time(rng),
        "jitter": rng.choice((0, 200)),
        "pause": rng.choice((0, 20, 1000)),
    },
    "impatient": lambda rng: {"delay": _time(rng), "share": rng.randint(1, 100)},
}
"""They never lose a byte."""

CUTTING: dict[str, Attributes] = {
    "timeout": lambda rng: {
        "timeout": _time(rng),
        "idle": rng.random() < 0.5,
        "flowing": rng.random() < 0.5,
    },
    "reset_peer": lambda rng: {"timeout": _time(rng)},
    "limit_data": lambda rng: {"bytes": rng.choice((0, 1, 1000, 1_000_000))},
    "close_after": lambda rng: {
        "messages": rng.choice((0, 1, 5)),
        "bytes": rng.choice((1, 1000, 1_000_000)),
        "reset": rng.random() < 0.5,
    },
    "refuse": lambda rng: {},
    "accept_close": lambda rng: {"delay": _time(rng)},
    "blackhole": lambda rng: {"timeout": _time(rng)},
    "restart": lambda rng: {},
    "goodbye": lambda rng: {},
    "half_open": lambda rng: {"user_timeout": _time(rng)},
    "flapping": lambda rng: {
        "away": rng.choice((1, 50, 3_600_000)),
        "back": rng.choice((1, 50, 3_600_000)),
    },
}
"""They end a stream early; what has come until then is right."""

CORRUPTING: dict[str, Attributes] = {
    "corrupt": lambda rng: {
        "kind": rng.choice(("flip", "drop", "duplicate", "reorder")),
        "chance": rng.choice((0.01, 0.5, 1)),
        "bits": rng.randint(1, 20),
        "wait": rng.choice((0, 50)),
    },
}

CONNECTING = ("refuse", "connect_delay", "accept_close", "blackhole")
"""They act before a client has sent anything."""

PROXIES: dict[str, dict[str, Attributes]] = {
    "plain": {},
    "delaying": DELAYING,
    "cutting": DELAYING | CUTTING,
    "corrupting": DELAYING | CUTTING | CORRUPTING,
}
"""Each proxy of the soak, and the toxics that it gets."""


class Chaos:
    """Chooses, from one seed, what is done next to the toxics of all proxies."""

    MOST = 5
    """Toxics on one proxy at the same time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.there: dict[str, dict[str, str]] = {name: {} for name in PROXIES}
        """proxy -> name of a toxic -> its type"""
        self.used: set[str] = set()
        self._number = 0
        self._turn: dict[str, list[str]] = {name: [] for name in PROXIES}

    def next(self) -> tuple[str, str, Any]:
        """Method, path and body of one call of the control API."""
        rng = self.rng
        proxy = rng.choice([name for name in PROXIES if PROXIES[name]])
        there = self.there[proxy]
        act = rng.random()
        if act < 0.1:
            return "GET", "/proxies", None
        if act < 0.12 and proxy != "delaying":
            return "POST", f"/proxies/{proxy}", {"enabled": rng.random() < 0.5}
        if there and (act < 0.45 or len(there) >= self.MOST):
            name = rng.choice(sorted(there))
            path = f"/proxies/{proxy}/toxics/{name}"
            if act < 0.25:
                attributes = PROXIES[proxy][there[name]](rng)
                return "PATCH", path, {"attributes": attributes, "toxicity": rng.random()}
            del there[name]
            return "DELETE", path, None
        return "POST", f"/proxies/{proxy}/toxics", self._toxic(proxy)

    def reset(self) -> None:
        """All toxics are gone."""
        for there in self.there.values():
            there.clear()

    def _toxic(self, proxy: str) -> dict[str, Any]:
        rng = self.rng
        if not self._turn[proxy]:
            # Each has its turn before any comes again.
            self._turn[proxy] = rng.sample(sorted(PROXIES[proxy]), len(PROXIES[proxy]))
        kind = self._turn[proxy].pop()
        self._number += 1
        name = f"t{self._number}"
        self.there[proxy][name] = kind
        self.used.add(kind)
        toxic: dict[str, Any] = {
            "type": kind,
            "name": name,
            "stream": rng.choice(("upstream", "downstream")),
            "toxicity": rng.choice((1, 0.5)),
            "attributes": PROXIES[proxy][kind](rng),
        }
        if rng.random() < 0.2:
            toxic["connections"] = rng.randint(1, 20)
        if rng.random() < 0.2:
            toxic["match"] = {"client": ["127.0.0.0/8"]}
        elif rng.random() < 0.2 and kind not in CONNECTING:
            toxic["match"] = {"first_bytes": rng.choice(("*", "[a-z]", "?*z"))}
        return toxic
