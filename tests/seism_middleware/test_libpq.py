"""Drivers on libpq: one look per connection, also where a descriptor is used again."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from seism.demo.backends import DATABASE_USER, Backends
from seism_middleware.contract import Proxied
from seism_middleware.drivers.span import Spans
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.traffic import Request, current
from tests.debian import unable

Connect = Callable[[], Any]


class Scene:
    def __init__(self, driver: str, address: str) -> None:
        host, port = address.split(":")
        self._connect = importlib.import_module(driver).connect
        self._where = f"host={host} port={port} user={DATABASE_USER} dbname=postgres"
        self.proxy = Proxied("db", host, int(port))
        self.ledger = Ledger()
        self.patches = Patches(self.ledger)
        self.patches.install()

    def connect(self) -> Any:
        made = self._connect(self._where)
        made.autocommit = True
        return made

    def asked(self, connection: Any) -> dict[str, int]:
        """Ask once in a new request: backend -> how often the request wrote to it."""
        request = Request("r", "GET", time.monotonic())
        token = current.set(request)
        connection.cursor().execute("select 1")
        current.reset(token)
        return {asked.backend: count for asked, (count, _) in request.sends.items()}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with Backends(schema=()) as running:
        yield running.addresses["db"]


@pytest.fixture(params=["psycopg2", "psycopg"])
def scene(request: pytest.FixtureRequest, database: str) -> Iterator[Scene]:
    if importlib.util.find_spec(request.param) is None:
        unable(f"{request.param} is missing: pip install '.[matrix]'")
    scene = Scene(request.param, database)
    yield scene
    scene.patches.uninstall()


def test_one_look_at_a_connection_that_leads_elsewhere(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    known = Spans._known

    def counted(self: Spans, *args: Any) -> Any:
        looks.append(args)
        return known(self, *args)

    monkeypatch.setattr(Spans, "_known", counted)
    connection = scene.connect()
    assert scene.asked(connection) == {}
    looks.clear()
    assert [scene.asked(connection) for _ in range(3)] == [{}] * 3
    assert looks == []
    scene.ledger.watch(0, [scene.proxy])  # it has been one to a proxy all along
    assert [scene.asked(connection) for _ in range(2)] == [{"db": 1}] * 2
    connection.close()


def test_a_descriptor_that_is_used_again(scene: Scene) -> None:
    """The driver closes its socket past every patch, and the next one has the same number."""
    elsewhere = scene.connect()
    scene.asked(elsewhere)
    number = elsewhere.fileno()
    elsewhere.close()
    scene.ledger.watch(0, [scene.proxy])
    proxied = scene.connect()
    assert proxied.fileno() == number
    assert scene.asked(proxied) == {"db": 1}
    proxied.close()
    again = scene.connect()
    assert again.fileno() == number
    assert scene.asked(again) == {"db": 1}
    (first, second) = scene.ledger._all()
    assert (first.died is not None, second.died) == (True, None)
    assert first.local != second.local
    again.close()


@pytest.mark.parametrize("ours", [True, False])
def test_the_first_request_of_a_worker_that_knows_no_proxies_yet(scene: Scene, ours: bool) -> None:
    """Also on a connection of before, which was looked at when nothing was expected."""
    before = scene.connect()
    assert scene.asked(before) == {}
    scene.ledger.expect()
    first = scene.connect()
    assert scene.asked(first) == scene.asked(before) == {"": 1}
    scene.ledger.watch(0, [scene.proxy] if ours else [])
    followed = {"db": 1} if ours else {}
    assert scene.asked(first) == scene.asked(before) == followed
    assert {each.backend for each in scene.ledger._all()} == ({"db"} if ours else set())
    first.close()
    before.close()
