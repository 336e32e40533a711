from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from seism_middleware import observer
from tests.seism_middleware.peer import Peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


@pytest.fixture(autouse=True)
def unobserved(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test begins and ends without an observer."""
    monkeypatch.delenv("SEISM_SIDECAR", raising=False)
    monkeypatch.delenv("SEISM_TOKEN", raising=False)
    yield
    for found in list(observer._observers.values()):
        found.close()
    observer.LEDGER.forget()


@pytest.fixture
def closing() -> Iterator[Callable[[Any], Any]]:
    """Closes what it is given at the end of the test."""
    with contextlib.ExitStack() as stack:

        def later(thing: Any) -> Any:
            stack.callback(thing.close)
            return thing

        yield later
