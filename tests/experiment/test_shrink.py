"""Delta debugging over a list of perturbations, and the test that is written."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError
from seism.experiment.config import Planned
from seism.experiment.shrink import breaks, regression, shrink, slug, suspect, target, values
from seism.model import Match
from tests.report import known


@given(
    st.integers(1, 12).flatmap(
        lambda size: st.tuples(
            st.just(list(range(size))), st.sets(st.integers(0, size - 1), min_size=1, max_size=4)
        )
    )
)
def test_exactly_what_matters_is_left(case: tuple[list[int], set[int]]) -> None:
    items, matter = case

    def fails(some: Sequence[int]) -> bool:
        return matter <= set(some)

    assert set(shrink(items, fails, items[0])) == matter


def test_a_good_suspect_takes_one_replay() -> None:
    tried: list[list[int]] = []

    def fails(some: Sequence[int]) -> bool:
        tried.append(list(some))
        return 7 in some

    assert shrink(range(10), fails, 7) == [7]
    assert tried == [[7]]


def test_what_cannot_be_repeated_is_said() -> None:
    with pytest.raises(ConfigurationError, match="not repeatable"):
        shrink([1, 2], lambda some: False, 1)


def test_the_target_is_a_red_cell_with_an_exact_hit() -> None:
    judgement = known.mixed()
    cell = target(judgement)
    assert cell.worst is not None and cell.worst.exact
    assert breaks(judgement, cell.route)
    assert target(judgement, known.ROUTES[3]).route == known.ROUTES[3]
    with pytest.raises(ConfigurationError, match="nothing is red for GET /health"):
        target(judgement, "GET /health")
    with pytest.raises(ConfigurationError, match="nothing is red"):
        target(known.green())


def test_the_suspect_is_the_cell_s_perturbation_or_what_chance_made_of_it() -> None:
    cell = target(known.mixed())
    name = cell.perturbation
    others = [Planned(f"{name}er", "db", "down"), Planned("x", "db", "down")]
    mine = Planned(name, "db", "down")
    exact = Planned(f"{name}: GET / #1", "db", "down")
    assert suspect([*others, mine], cell) is mine
    assert suspect([*others, exact], cell) is exact
    with pytest.raises(ConfigurationError, match="nothing to replay"):
        suspect(others, cell)


def test_what_is_written_is_the_whole_perturbation_and_no_more() -> None:
    planned = Planned("a", "db", "latency", attributes={"latency": 3}, match=Match(client=("::1",)))
    assert values(planned) == {
        "name": "a", "backend": "db", "type": "latency", "attributes": {"latency": 3},
        "match": {"client": ("::1",), "server_name": "", "first_bytes": ""},
    }  # fmt: skip


def test_the_file_is_python_whatever_the_names_are() -> None:
    cell = target(known.mixed())
    for name in known.HOSTILE:
        text = regression([Planned(name, "db", "down")], cell, 7, "it's/seism.toml")
        compile(text, "test.py", "exec")
        assert f"def test_{slug(cell)}(" in text
