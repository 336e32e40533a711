"""Each application of the zoo under ``run`` and ``sweep``, and ``report`` on the same journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.demo.backends import Backends
from tests.zoo.again import CASES, judge
from tests.zoo.judged import KNOWN, wrong

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, str]]:
    with Backends(schema=()) as running:
        yield {name.upper(): at for name, at in running.addresses.items()}


@pytest.mark.parametrize(("name", "command"), KNOWN)
def test_the_verdict_is_the_right_one(
    name: str, command: str, backends: dict[str, str], tmp_path: Path
) -> None:
    assert wrong(name, command, tmp_path, backends) == []


def test_one_is_judged_again_beside_busy_loops(
    backends: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The short form of ``make zoo-again``."""
    assert judge([("redirected", "run")], 1, {"busy": 2}, backends) == 0
    assert "| `redirected` | run | busy | 1 of 1 |" in capsys.readouterr().out


def test_what_is_judged_again_is_in_the_zoo() -> None:
    assert set(CASES) <= set(KNOWN)
    assert len({name for name, _ in CASES}) == 11
