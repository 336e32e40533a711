"""One real sidecar for the tests of this folder; each test has proxies of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from seism.client import Client, Proxy
from tests.processes import sidecar

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a sidecar."""
    with sidecar(tmp_path_factory.mktemp("client") / "journal.jsonl") as control:
        yield f"{control.host}:{control.port}"


@pytest.fixture
def client(served: str) -> Iterator[Client]:
    with Client(served, token="") as client:
        yield client


@pytest.fixture
def db(client: Client) -> Iterator[Proxy]:
    """A proxy that nobody else uses."""
    with client.created(f"db ä{next(_numbers)}", "127.0.0.1:1") as proxy:
        yield proxy
