"""What the processes of a parallel run share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.workers import LONGEST, TESTS, made_once, pytest_collection_modifyitems


def test_each_of_the_longest_is_a_file() -> None:
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


@pytest.mark.parametrize("parallel", [True, False])
def test_the_longest_are_first_in_a_parallel_run(parallel: bool) -> None:
    names = ["test_rng.py", LONGEST[1], "test_cli.py", LONGEST[0], LONGEST[1]]
    items: list[Any] = [
        SimpleNamespace(path=TESTS / name, number=n) for n, name in enumerate(names)
    ]
    config: Any = SimpleNamespace(**({"workerinput": {}} if parallel else {}))
    pytest_collection_modifyitems(config, items)
    assert [item.number for item in items] == ([3, 1, 4, 2, 0] if parallel else [0, 1, 2, 3, 4])


def test_several_that_ask_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").touch()

    def ask(name: str) -> Path:
        worker: Any = SimpleNamespace(getbasetemp=lambda: tmp_path / name)
        return made_once(worker, "made", make)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, ("gw0", "gw1", "gw2", "gw3")))
    assert found == [tmp_path / "made"] * 4
    assert made == [tmp_path / "made"]


def test_what_failed_is_made_anew(tmp_path: Path) -> None:
    factory: Any = SimpleNamespace(getbasetemp=lambda: tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        made_once(factory, "made", fail)
    made = made_once(factory, "made", lambda folder: (folder / "whole").touch())
    assert [path.name for path in made.iterdir()] == ["whole"]
