"""Each rule of docs/guide: its code is the templates', its perturbation proves it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.demo.backends import Backends
from tests.templates.guide import GUIDE, PAGES, Change, Shop, applied, blocks, changes, holds

CHANGES = [change for page in PAGES for change in changes(page)]
(RULES,) = (block.text for block in blocks(GUIDE / "index.md") if block.language == "toml")


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends(schema=()) as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, backends: Backends) -> Shop:
    return Shop(tmp_path / "shop", backends)


def test_the_code_is_what_is_generated(shop: Shop) -> None:
    shown = [block for page in PAGES for block in blocks(page) if block.language == "python"]
    assert len(shown) > 8
    for block in shown:
        assert holds((shop.folder / block.file).read_text(encoding="utf-8"), block.text), block
    assert {change.page for change in CHANGES} == {page.name for page in PAGES}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_with_all_of_it_everything_is_green(shop: Shop) -> None:
    tables = [b.text for page in PAGES for b in blocks(page) if b.language == "toml"]
    done = shop.experiment(RULES, *tables)
    assert done.returncode == 0, done.stdout + done.stderr
    matrix = shop.report()["matrix"]
    for backend in ("database", "cache"):
        assert matrix["GET /__heartbeat__"][f"{backend} down"] == "green"


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: f"{c.page}-{CHANGES.index(c)}")
def test_without_it_the_perturbation_says_so(shop: Shop, change: Change) -> None:
    path = shop.folder / change.file
    path.write_text(applied(path.read_text(encoding="utf-8"), change), encoding="utf-8")
    (first, *more) = change.proof
    if first.startswith("python "):
        done = shop.run(sys.executable, *shlex.split(first)[1:])
    else:
        done = shop.experiment(RULES, first, *more)
    said = " ".join((done.stdout + done.stderr).split())
    for line in change.seen:
        assert " ".join(line.split()) in said, done.stdout + done.stderr
    assert done.returncode == 1 or "none" in change.seen[0], done.stdout
