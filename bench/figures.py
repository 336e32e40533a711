"""The arithmetic of the benchmark: quantiles, medians, ratios, the table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

Histogram = Sequence[Sequence[int]]
"""Buckets ``[from, to, count]``, in order; ``to`` is the first value that is not in it."""

Samples = Mapping[str, Sequence[float]]
"""Contestant to its figure in each round that it ran in."""
CONFIDENCE = 0.95
"""Of an interval, unless another is asked for."""


def quantile(histogram: Histogram, q: float) -> float:
    """The middle of the bucket that holds the value of rank ``q``; NaN if there is none."""
    total = sum(count for _, _, count in histogram)
    seen = 0
    for low, high, count in histogram:
        seen += count
        if seen >= q * total:
            return (low + high - 1) / 2
    return float("nan")


def median(values: Iterable[float]) -> float:
    """Of those that are known; NaN if none is."""
    known = [value for value in values if value == value]
    return statistics.median(known) if known else float("nan")


def ratio(samples: Samples, of: str, to: str) -> float:
    """The median over the rounds of ``of`` divided by ``to`` in the same round.

    Both met the same noise of the machine then, so this says more than dividing medians.
    """
    pairs = zip(samples.get(of, ()), samples.get(to, ()), strict=False)
    return median(mine / theirs for mine, theirs in pairs if theirs)


def sign_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Of the median, by the sign test; NaN twice if there are too few values.

    The k-th smallest and the k-th largest value hold the median unless fewer than k values are on
    one side of it, which n throws of a fair coin decide: k is the largest for which that happens
    in at most ``1 - confidence`` of all cases.
    """
    ordered = sorted(values)
    rarest = 2 ** -len(ordered)
    outside, k = 0.0, 0
    while k < len(ordered) / 2:
        outside += 2 * rarest * math.comb(len(ordered), k)
        if outside > 1 - confidence:
            break
        k += 1
    return (ordered[k - 1], ordered[-k]) if k else (math.nan, math.nan)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median; of fewer than six values, which have none, all of them."""
    low, high = sign_interval(values)
    return (min(values), max(values)) if math.isnan(low) else (low, high)


def rotated(items: Sequence[str], by: int) -> list[str]:
    """The same in the same cycle, beginning elsewhere: no one is always first."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]


def number(value: float) -> str:
    """Three digits that mean something; nothing for NaN."""
    if value != value:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, aligned: the first column to the left, all others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return " | ".join([f"| {first[0]:<{first[1]}}", *(f"{c:>{w}}" for c, w in others)]) + " |"

    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:]), ""])
    return "\n".join([line(head), rule, *map(line, rows)])
