from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seism_middleware.bounded import Bounded


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 9), st.booleans())))
def test_the_oldest_is_forgotten(most: int, steps: list[tuple[int, bool]]) -> None:
    gone: list[int] = []
    bounded: Bounded[int, int] = Bounded(most, gone.append)
    order: list[int] = []
    for step, (key, plain) in enumerate(steps):
        known = key in bounded
        if plain:
            bounded[key] = step
        else:
            assert bounded.setdefault(key, step) == bounded[key]
        if not known:
            order.append(key)
            order = order[-most:]
    assert list(bounded) == order
    assert len(gone) + len(bounded) <= len(steps)
    assert not set(gone) & set(bounded.values())
