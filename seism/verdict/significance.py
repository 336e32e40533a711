"""Whether one share of failures is larger than another by more than chance."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import exp, lgamma
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

SIGNIFICANT = 0.01
"""The chance of an error below which a difference from the control run is believed."""
NEGLIGIBLE = 1e-12
"""A term of a sum that is this small beside the sum ends it."""


def fisher_exact(failed: int, total: int, usual_failed: int, usual_total: int) -> float:
    """The chance of at least ``failed`` of ``total`` failures where the rate is the same as that of
    ``usual_failed`` of ``usual_total``: Fisher's exact test, one-sided (R. A. Fisher, 1935).
    """
    failures = failed + usual_failed
    fine = total + usual_total - failures
    least, most = max(failed, total - fine), min(total, failures)
    if least <= max(0, total - fine):
        return 1.0
    term = exp(
        _log_choose(total, least)
        + _log_choose(usual_total, failures - least)
        - _log_choose(total + usual_total, failures)
    )
    chance = 0.0
    for count in range(least, most + 1):
        chance += term
        if term <= NEGLIGIBLE * chance:
            break
        ahead = (total - count) * (failures - count)
        term *= ahead / ((count + 1) * (usual_total - failures + count + 1))
    return min(1.0, chance)


def holm(chances: Mapping[Key, float], significant: float = SIGNIFICANT) -> frozenset[Key]:
    """The keys of ``chances`` that are significant together: Holm's step-down correction
    (S. Holm, 1979), so that many comparisons find no more by chance than one would.
    """
    found: set[Key] = set()
    ordered = sorted(chances, key=chances.__getitem__)
    for place, key in enumerate(ordered):
        if chances[key] > significant / (len(ordered) - place):
            break
        found.add(key)
    return frozenset(found)


def _log_choose(total: int, chosen: int) -> float:
    return lgamma(total + 1) - lgamma(chosen + 1) - lgamma(total - chosen + 1)
