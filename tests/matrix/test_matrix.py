"""The short form of the matrix: the cells in which the evidence differs. ``make matrix``: all."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.debian import unable
from tests.matrix.backends import Servers
from tests.matrix.cell import MODELS, Outcome, run
from tests.matrix.clients import ASYNC, BACKEND, SYNC
from tests.matrix.run import POSSIBLE, cells, fails, row

REQUESTS = 300
ENOUGH_SHORT = 0.9
"""The share that must be exact here, where a cell has some forty perturbations: one that is only
possible on a busy machine would be too many. ``make matrix`` asks for ``ENOUGH``."""
SHORT = (
    ("psycopg2", "threads", "psycopg2"),
    ("mysql-connector", "threads", "_mysql_connector"),
    ("pylibmc", "threads", "pylibmc"),
    ("python-ldap", "threads", "ldap"),
    ("ldap3-reusable", "threads", "ldap3"),
    ("mysqlclient", "uvloop", "MySQLdb"),
    ("psycopg", "gevent", "psycopg"),
    ("psycopg-async", "asyncio", "psycopg"),
    ("asyncpg", "uvloop", "uvloop"),
    ("django", "gunicorn gthread x4", "gunicorn"),
    ("sqlalchemy-psycopg", "gunicorn gthread x4 --preload", "sqlalchemy"),
    ("redis", "gunicorn gevent x4", "gunicorn"),
    ("redis", "granian WSGI x4", "granian"),
    ("psycopg2", "threads, a connection per request", "psycopg2"),
    ("mysqlclient", "threads, a connection per request", "MySQLdb"),
    ("pycurl", "threads, a connection per request", "pycurl"),
    ("asyncpg", "uvloop, a connection per request", "uvloop"),
    ("django", "gevent, a connection per request", "django"),
    ("python-ldap", "threads, a connection per request", "ldap"),
    ("psycopg", "asyncio, a connection per request", "psycopg"),
    ("bonsai", "threads, a connection per request", "bonsai"),
)
"""Client, model, and a module of the extra ``matrix`` that the cell needs."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


@pytest.mark.debian(
    "mariadb-server-core", "mariadb-client-core", "memcached", "slapd",
    # What the clients are compiled with.
    "gcc", "pkg-config", "libmariadb-dev", "libldap2-dev", "libsasl2-dev",
)  # fmt: skip
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("client", "model", "module"), SHORT)
def test_every_exact_attribution_is_right(
    client: str, model: str, module: str, servers: Servers, tmp_path: Path
) -> None:
    if importlib.util.find_spec(module) is None:
        unable(f"{module} is missing: pip install '.[matrix]'")
    outcome = run(servers, client, model, REQUESTS, tmp_path / "cell")
    print(row(outcome))
    assert all(item.truth <= item.named for item in outcome.perturbed), outcome
    assert not fails(outcome, ENOUGH_SHORT), outcome
    assert client in POSSIBLE or fails(outcome.mixed_up()).endswith(" wrong")


def test_every_client_is_in_the_matrix() -> None:
    assert {client for client, _ in cells()} == BACKEND.keys() == {*SYNC, *ASYNC}
    assert {model for _, model in cells()} == MODELS.keys()
    assert {cell[:2] for cell in SHORT} <= set(cells())


def test_what_fails_a_cell() -> None:
    from seism_middleware.contract import Attribution
    from tests.truth.measure import Perturbed

    def outcome(request: str, exact: bool = True, count: int = 40) -> Outcome:
        perturbed = tuple(
            Perturbed(
                frozenset({f"w-{n}"}),
                (Attribution("p", request.format(n), "ledger", exact),),
            )
            for n in range(count)
        )
        return Outcome("redis", "threads", perturbed, 0, {200: count})

    assert fails(outcome("w-{}")) == ""
    assert fails(outcome("w-1")) == "39 wrong"
    assert fails(outcome("w-{}", exact=False)) == "40 of 40 not attributed exactly"
    assert fails(outcome("w-{}", count=1)) == "only 1 perturbations"
    assert outcome("w-{}").shuffled == 40
    assert fails(outcome("w-{}").mixed_up()) == "40 wrong"
