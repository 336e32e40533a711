"""The benchmark's arithmetic."""

from __future__ import annotations

import math
import statistics

from hypothesis import given
from hypothesis import strategies as st

from bench.figures import interval, median, number, quantile, ratio, rotated, table

FIGURES = st.floats(0.001, 1e9)


@given(st.lists(st.integers(0, 10_000), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_of_exact_buckets_is_the_value_of_that_rank(values: list[int], q: float) -> None:
    histogram = [[value, value + 1, values.count(value)] for value in sorted(set(values))]
    rank = max(1, math.ceil(q * len(values) - 1e-9))
    assert quantile(histogram, q) == sorted(values)[rank - 1]


def test_a_quantile_is_the_middle_of_its_bucket() -> None:
    assert quantile([[100, 201, 1], [1000, 1001, 1]], 0.5) == 150


def test_nothing_has_no_quantile_and_no_median() -> None:
    assert math.isnan(quantile([], 0.5))
    assert math.isnan(median([]))
    assert median([math.nan, 3]) == 3


@given(st.lists(FIGURES, min_size=1))
def test_the_median(values: list[float]) -> None:
    assert median(values) == statistics.median(values)


def test_the_interval_of_a_median() -> None:
    # The ranks of a table of the sign test.
    for count, first in ((1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (15, 4), (20, 6), (25, 8)):
        assert interval(range(1, count + 1)) == (first, count + 1 - first)


def test_a_ratio_compares_within_each_round() -> None:
    # The machine was ten times slower in the second round: both met it.
    assert ratio({"a": [10, 100, 20], "b": [20, 200, 10]}, "a", "b") == 0.5


def test_a_ratio_without_a_partner_is_none() -> None:
    assert math.isnan(ratio({"a": [1]}, "a", "b"))
    assert math.isnan(ratio({"a": [1], "b": [0]}, "a", "b"))


@given(st.lists(st.text(), max_size=5), st.integers(0, 20))
def test_rotating_keeps_the_cycle(names: list[str], by: int) -> None:
    turned = rotated(names, by)
    assert sorted(turned) == sorted(names)
    if names:
        assert turned[0] == names[by % len(names)]


def test_numbers_show_three_digits() -> None:
    shown = [number(value) for value in (0.123, 9.876, 98.76, 987.6, 98765.4, math.nan)]
    assert shown == ["0.12", "9.88", "98.8", "988", "98,765", ""]


def test_a_table_is_aligned_markdown() -> None:
    assert table(["", "a"], [["one", "1"], ["three", "333"]]).splitlines() == [
        "|       |   a |",
        "|-------|----:|",
        "| one   |   1 |",
        "| three | 333 |",
    ]
