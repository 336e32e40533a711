"""Pools that open their connections at the start.

psycopg_pool 3.1.1 does not grow to its size again after it had given up; 3.1.2 does. asyncpg's
(0.30) opens connections again when they are needed, and has lost none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.demo.backends import Backends
from seism.verdict.result import GREEN, NOT_COVERED, RED, Judgement
from tests.harm.lab import LOOPS, Lab, blamed, named, packages

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with Backends() as backends:
        yield backends.addresses["db"]


@pytest.fixture(scope="module")
def psycopg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages(
        tmp_path_factory.mktemp("psycopg"),
        "psycopg==3.2.9", "psycopg-binary==3.2.9", "typing-extensions>=4.6",
    )  # fmt: skip


def run(folder: Path, database: str, psycopg: Path, version: str) -> Judgement:
    pool = packages(folder / "packages", f"psycopg-pool=={version}")
    # Longer than the pool tries to reconnect (1.5 s), shorter than its next attempt does.
    lab = Lab(
        "psycopg_app", database, 'name = "down"\ntype = "down"', path=(pool, psycopg),
        load="workers = 1\nsteady = 20\nduring = 14\nafter = 30\npause_ms = 10",
        rules="recover_s = 10",
    )  # fmt: skip
    return lab.judge(folder)


def test_the_lost_connections_are_found(tmp_path: Path, database: str, psycopg: Path) -> None:
    judgement = run(tmp_path, database, psycopg, "3.1.1")
    (lost,) = named(judgement, "lost")
    assert (lost.colour, lost.backend) == (RED, "store")
    assert judgement.colour == RED
    (pool,) = judgement.pools
    assert (pool.before, pool.during, pool.after) == (4, 0, 1)
    # Nothing else shows: each request is answered as it should be.
    assert {cell.colour for cell in judgement.cells} <= {GREEN, NOT_COVERED}


def test_the_repaired_version_is_not_blamed(tmp_path: Path, database: str, psycopg: Path) -> None:
    judgement = run(tmp_path, database, psycopg, "3.1.2")
    assert blamed(judgement) == []
    (pool,) = judgement.pools
    assert (pool.before, pool.after) == (4, 4)


def test_a_pool_that_waits_for_requests_is_not_blamed(tmp_path: Path, database: str) -> None:
    # 0.32 restores its size by itself, within a second or more.
    waits = packages(tmp_path / "packages", "asyncpg==0.30.0")
    lab = Lab(
        "asyncpg_app", database, 'name = "down"\ntype = "down"', LOOPS["uvloop"], path=(waits,),
        load="workers = 1\nsteady = 20\nduring = 14\nafter = 30\npause_ms = 10",
        rules="pool_seconds = 1",
    )  # fmt: skip
    judgement = lab.judge(tmp_path)
    assert blamed(judgement) == []
    (pool,) = judgement.pools
    assert (pool.before, pool.during) == (4, 0)
    assert 1 <= pool.after < 4
