"""The statistics of two commits beside each other."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.compare import compare, of_observer, of_proxies, rate, report
from bench.figures import sign_interval

VALUES = st.lists(st.floats(0.1, 10), min_size=6, max_size=60)


@pytest.mark.parametrize(
    ("count", "place"),
    # A table of the sign test (Conover, Practical Nonparametric Statistics): 95 %, two-sided.
    [(6, 1), (8, 1), (9, 2), (12, 3), (15, 4), (17, 5), (20, 6), (25, 8), (30, 10)],
)
def test_the_interval_is_the_sign_tests(count: int, place: int) -> None:
    assert sign_interval([float(n) for n in range(1, count + 1)]) == (place, count + 1 - place)


@pytest.mark.parametrize("count", range(6))
def test_too_few_rounds_have_no_interval(count: int) -> None:
    assert all(map(math.isnan, sign_interval([1.0] * count)))


@given(VALUES)
def test_the_interval_holds_the_median_of_the_sample(values: list[float]) -> None:
    low, high = sign_interval(values)
    ordered = sorted(values)
    assert low <= ordered[(len(ordered) - 1) // 2] and ordered[len(ordered) // 2] <= high


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    """A skewed distribution whose median is 1: ratios of noisy measurements."""
    chance = random.Random(7)
    trials = [[chance.lognormvariate(0, 0.5) for _ in range(20)] for _ in range(4000)]
    inside = sum(low <= 1 <= high for low, high in map(sign_interval, trials))
    assert 0.94 < inside / len(trials) < 0.98  # 95.9 % for 20 values


def rounds(*values: float, figure: str = "p50 µs") -> list[dict[str, float]]:
    return [{figure: value} for value in values]


def test_a_cost_that_rose_is_worse() -> None:
    old = rounds(*(100 + n for n in range(20)))
    new = rounds(*((100 + n) * 1.05 for n in range(20)))
    (found,) = compare(old, new)
    assert found.worse and math.isclose(found.ratio, 1.05)
    assert "1 of 1 figures lie wholly beyond 3% worse" in report([found])


def test_a_rate_that_fell_is_worse() -> None:
    old, new = rounds(*[100.0] * 20, figure="requests/s"), rounds(*[90.0] * 20, figure="requests/s")
    (found,) = compare(old, new)
    assert found.worse
    (back,) = compare(new, old)
    assert not back.worse and back.ratio < 1


def test_noise_is_not_worse() -> None:
    chance = random.Random(3)
    old = rounds(*(chance.gauss(100, 10) for _ in range(20)))
    new = rounds(*(chance.gauss(100, 10) for _ in range(20)))
    (found,) = compare(old, new)
    assert not found.worse


def test_what_is_worse_by_less_than_the_tolerance_is_noise() -> None:
    (found,) = compare(rounds(*[100.0] * 20), rounds(*[102.0] * 20))
    assert not found.worse


def test_too_few_rounds_are_never_worse_and_say_so() -> None:
    compared = list(compare(rounds(1, 1), rounds(9, 9)))
    assert not compared[0].worse
    assert "fewer than 6 rounds" in report(compared)


def test_what_a_round_could_not_measure_is_left_out() -> None:
    old = [*rounds(100, 100), {}, *rounds(100), {"p50 µs": math.nan}]
    (found,) = compare(old, rounds(100, 110, 100, 120, 100))
    assert found.rounds == 3
    assert list(compare([{}], rounds(1))) == []


def test_the_figures_of_both_documents() -> None:
    samples = {"Seism": [1.0, 3.0, None], "HAProxy": [9.0], "direct": [9.0]}
    assert of_proxies({"results": {"ping-1": {"p50 µs": samples}}}) == {"ping-1: p50 µs, Seism": 2}
    found = {"bare": {"median": 1.0}, "with": {"median": 2.0}}
    assert of_observer({"results": {"WSGI request, µs": found}}) == {"WSGI request, µs": 2.0}


def test_which_figures_are_rates() -> None:
    assert [rate(name) for name in ("ping-1: requests/s, seism", "beside: bulk MiB/s, seism")]
    costs = ("ping-1: p99 µs, seism", "up-1: CPU s per GiB, seism", "import, ms CPU")
    assert not any(map(rate, costs))


@given(VALUES)
def test_more_confidence_is_no_narrower(values: list[float]) -> None:
    widths = [sign_interval(values, confidence) for confidence in (0.5, 0.8, 0.95)]
    for (low, high), (lower, higher) in pairwise(widths):
        assert lower <= low and high <= higher
