"""The time that each codec takes of each hostile input, by the size of the input."""

from __future__ import annotations

import gc
import math
import statistics
import time
from dataclasses import dataclass

from seism import registry
from seism.errors import ProtocolError
from tests.protocols.hostile import HOSTILE, Make, Turns, chunked

SIZES = (16_000, 32_000, 64_000)
ROUNDS = 3
EXPONENT = 1.1
ATTEMPTS = 4
"""Measurements of which one must do: what grows with the square does in none of them."""
CODECS = registry.load().protocols


@dataclass(frozen=True)
class Growth:
    """Of one codec with one hostile input."""

    name: str
    exponent: float
    seconds: float
    """For the largest size."""


def growths(protocol: str) -> list[Growth]:
    """Of its hostile inputs, read in chunks, with and without details for faults."""
    return [
        _growth(f"{name}{', armed' if detail else ''}", protocol, make, detail)
        for name, make in HOSTILE[protocol].items()
        for detail in (False, True)
    ]


def _growth(name: str, protocol: str, make: Make, detail: bool) -> Growth:
    best = Growth(name, math.inf, 0.0)
    for _ in range(ATTEMPTS):
        seconds = [_median(protocol, chunked(make(size), 1024), detail) for size in SIZES]
        found = Growth(name, _slope(seconds), seconds[-1])
        best = min(best, found, key=lambda each: each.exponent)
        if best.exponent <= EXPONENT:
            break
    return best


def _slope(seconds: list[float]) -> float:
    """The exponent of time over size, by least squares of the logarithms."""
    sizes = [math.log(size) for size in SIZES]
    return statistics.linear_regression(sizes, [math.log(each) for each in seconds]).slope


def _median(protocol: str, turns: Turns, detail: bool) -> float:
    return statistics.median(_seconds(protocol, turns, detail) for _ in range(ROUNDS))


def _seconds(protocol: str, turns: Turns, detail: bool) -> float:
    codec = CODECS[protocol]()
    codec.detail = detail
    gc.collect()
    gc.disable()
    began = time.thread_time()
    try:
        for stream, data in turns:
            if codec.opaque:
                break
            for _ in codec.receive(stream, data):
                pass
    except ProtocolError:
        pass
    finally:
        gc.enable()
    return time.thread_time() - began + 1e-6
