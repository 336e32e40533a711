from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from seism.rng import Seed

NAMES = st.lists(st.text() | st.integers(), min_size=1, max_size=3)


@given(st.integers(), NAMES)
def test_a_stream_depends_on_seed_and_name_alone(value: int, names: list[object]) -> None:
    seed = Seed(value)
    other = seed.stream("another")
    first = seed.stream(*names).random()
    other.random()
    assert seed.stream(*names).random() == first == Seed(value).stream(*names).random()


def test_seeds_and_names_make_different_streams() -> None:
    draws = {
        Seed(value).stream(*names).random()
        for value in (1, 2)
        for names in (("a",), ("b",), ("a", "b"), ("a", 1))
    }
    assert len(draws) == 8


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), min_size=1, max_size=3))
def test_different_names_never_share_a_stream(first: list[str], second: list[str]) -> None:
    seed = Seed(7)
    same = seed.stream(*first).random() == seed.stream(*second).random()
    assert same == (first == second)


def test_names_with_a_separator_in_them_do_not_meet() -> None:
    seed = Seed(7)
    assert seed.stream("a/b").random() != seed.stream("a", "b").random()


def test_a_stream_is_the_same_in_another_process() -> None:
    script = "from seism.rng import Seed; print(Seed(7).stream('load', 3).random())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == Seed(7).stream("load", 3).random()
