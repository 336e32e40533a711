"""Long work lets the event loop turn: what is done between two turns is bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from seism.clock import MonotonicClock
from seism.errors import ConfigurationError
from seism.model import ProxySpec, ToxicSpec
from seism.proxy.collection import MAX_PROXIES, MAX_TOXICS, Collection
from seism.proxy.proxy import Proxy
from seism.proxy.slices import SLICE, Turns, in_slices, rest
from seism.rng import Seed


def most_between_turns(work: Callable[[Callable[[], None]], object]) -> int:
    """How often ``work`` calls what it is given between two turns of the loop, at most."""
    counts = [0]

    def count() -> None:
        counts[-1] += 1

    def turn() -> None:
        while True:
            counts.append(0)
            rest()

    turning = gevent.spawn(turn)
    rest()
    work(count)
    turning.kill()
    return max(counts)


def test_the_loop_turns_after_each_slice() -> None:
    def work(count: Callable[[], None]) -> None:
        for _ in in_slices(range(500), 10):
            count()

    assert most_between_turns(work) <= 10


def test_many_share_one_turn() -> None:
    turns = Turns()

    def work(count: Callable[[], None]) -> None:
        def one() -> None:
            for _ in range(20):
                with turns:
                    count()
                    rest()

        gevent.joinall([gevent.spawn(one) for _ in range(10)])

    assert most_between_turns(work) == 1


@pytest.fixture
def collection() -> Any:
    made = Collection(Seed(1), MonotonicClock(), lambda record: None, lambda: None)
    yield made
    made.close()


def test_many_proxies_are_made_and_reset_in_slices(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [(ProxySpec(f"p{number}", "127.0.0.1:1"), ()) for number in range(100)]
    start = Proxy.start

    def work(count: Callable[[], None]) -> None:
        def counted(proxy: Proxy) -> None:
            count()
            start(proxy)

        monkeypatch.setattr(Proxy, "start", counted)
        collection.populate(entries)
        collection.reset()

    assert most_between_turns(work) <= SLICE
    assert len(collection.list()) == 100


def test_there_is_a_most_of_everything(collection: Collection) -> None:
    entries = [(ProxySpec(f"p{n}", "127.0.0.1:1"), ()) for n in range(MAX_PROXIES + 1)]
    with pytest.raises(ConfigurationError, match=r"too many proxies: .*maximum 4096"):
        collection.populate(entries)
    toxics = [ToxicSpec("noop", f"t{number}") for number in range(MAX_TOXICS + 1)]
    with pytest.raises(ConfigurationError, match=r"too many toxics on one proxy \(maximum 256"):
        collection.create(ProxySpec("p", "127.0.0.1:1"), toxics)
    collection.create(ProxySpec("p", "127.0.0.1:1"), toxics[:-1])
    with pytest.raises(ConfigurationError, match="too many toxics"):
        collection.add_toxic("p", toxics[-1])
