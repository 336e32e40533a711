"""Both pollers, each with its pump: pure Python, and compiled where that was built."""

from __future__ import annotations

import contextlib
import importlib
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from seism.proxy.poller import TURN, PurePoller
from seism.proxy.pump import ALONE, LARGE, SMALL, PurePump
from tests.proxy.test_pump import COMPILED

KINDS: list[tuple[type[Any], type[Any]]] = [(PurePoller, PurePump)]
if COMPILED:
    compiled = importlib.import_module("seism.proxy._pump")
    KINDS.append((compiled.Poller, compiled.Pump))


class Bench:
    """A poller on this thread's loop, and pairs of sockets whose near ends it watches."""

    def __init__(self, poller: type[Any], pump: type[Any]) -> None:
        self.poller = poller(gevent.get_hub().loop)
        self.calls: list[str] = []
        self._pump = pump
        self._open: list[socket.socket] = []

    def pair(self, size: int = 0) -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        for sock in pair:
            sock.setblocking(False)
            if size:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        self._open += pair
        return pair

    def link(self, name: str, near: socket.socket) -> Any:
        """A link that reads a byte when it is called, and notes its name."""

        def readable() -> None:
            near.recv(1)
            self.calls.append(name)

        link = self._pump()
        link.route(readable, True)
        return link

    def relay(self, source: socket.socket, sink: socket.socket) -> Any:
        """A link that relays."""
        link = self._pump()
        link.wire(source, sink)
        link.route(None, True)
        return link

    def turn(self) -> None:
        """Let the loop look once."""
        gevent.get_hub().loop.run(nowait=True, once=True)

    def close(self) -> None:
        self.poller.close()
        for sock in self._open:
            sock.close()


@pytest.fixture(params=KINDS, ids=lambda kind: kind[0].__module__)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(*request.param)
    yield made
    made.close()


def test_links_take_turns_in_the_order_in_which_they_became_ready(bench: Bench) -> None:
    pairs = {name: bench.pair() for name in "abc"}
    for name, (near, _) in pairs.items():
        bench.poller.start(near.fileno(), bench.link(name, near))
    for name in "cabac":
        pairs[name][1].send(b"x")
    for _ in range(3):
        bench.turn()
    assert bench.calls == ["c", "a", "b", "c", "a"]


def test_others_have_their_turn_in_between(bench: Bench) -> None:
    for number in range(TURN + 8):
        near, far = bench.pair()
        bench.poller.start(near.fileno(), bench.link(str(number), near))
        far.send(b"x")
    bench.turn()
    assert len(bench.calls) == TURN
    bench.turn()
    assert len(bench.calls) == TURN + 8


def test_a_link_that_stopped_is_called_once_it_starts_again(bench: Bench) -> None:
    near, far = bench.pair()
    link = bench.link("a", near)
    bench.poller.start(near.fileno(), link)
    bench.poller.stop(near.fileno())
    bench.poller.stop(near.fileno())
    far.send(b"x")
    bench.turn()
    assert bench.calls == []
    bench.poller.start(near.fileno(), link)
    bench.turn()
    assert bench.calls == ["a"]


def test_what_is_forgotten_and_stays_open_is_let_go_of(bench: Bench) -> None:
    near, far = bench.pair()
    bench.poller.start(near.fileno(), bench.link("a", near))
    bench.poller.forget(near.fileno())
    far.send(b"x")
    bench.turn()
    assert bench.calls == []
    # The kernel knows it no more, else this would be refused.
    bench.poller.start(near.fileno(), bench.link("b", near))
    bench.turn()
    assert bench.calls == ["b"]


def test_a_descriptor_is_used_again(bench: Bench) -> None:
    near, far = bench.pair()
    number = near.fileno()
    bench.poller.start(number, bench.link("a", near))
    far.send(b"x")
    bench.poller.forget(number)
    near.close()
    far.close()
    near, far = bench.pair()
    assert number in (near.fileno(), far.fileno())
    if far.fileno() == number:
        near, far = far, near
    bench.poller.start(number, bench.link("b", near))
    bench.turn()
    assert bench.calls == []
    far.send(b"x")
    bench.turn()
    assert bench.calls == ["b"]


def test_a_descriptor_that_is_closed_cannot_be_watched(bench: Bench) -> None:
    near, _ = bench.pair()
    number, link = near.fileno(), bench.link("a", near)
    near.close()
    with pytest.raises(OSError):
        bench.poller.start(number, link)


@pytest.mark.parametrize("alone", [True, False])
def test_only_a_link_that_is_alone_reads_much_at_once(bench: Bench, alone: bool) -> None:
    source, sender = bench.pair(LARGE)
    sink, receiver = bench.pair(LARGE)
    link = bench.relay(source, sink)
    bench.poller.start(source.fileno(), link)
    near, far = bench.pair()
    bench.poller.start(near.fileno(), bench.link("other", near))
    sizes = []
    for number in range(ALONE + 40):
        if not alone and number % 100 == 0:
            far.send(b"x")
        with contextlib.suppress(BlockingIOError):
            sender.send(bytes(LARGE))
        before = link.received
        bench.turn()
        sizes.append(link.received - before)
        with contextlib.suppress(BlockingIOError):
            while receiver.recv(LARGE):
                pass
    assert set(sizes[:ALONE]) <= {0, SMALL}
    assert (max(sizes) > SMALL) == alone
