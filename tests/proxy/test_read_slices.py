"""No connection has more than a slice of its messages worked off before the loop turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from seism.clock import MonotonicClock
from seism.journal import SCHEMA, Journal, Manifest
from seism.model import FRONT, FrontOptions, ToxicSpec
from seism.protocols.base import Codec, Piece
from seism.protocols.http import Http
from seism.protocols.redis import Redis
from seism.proxy.pump import SLICE, SMALL
from seism.registry import PROTOCOLS, TOXICS, Registry
from seism.sidecar.front import Front
from seism.sidecar.hub import Hub
from seism_middleware.contract import UPSTREAM
from tests.proxy.ends import End, Tls, listen, pair, spec
from tests.proxy.harness import Proxies

COMMAND = b"a\n"
COUNT = 12_000
"""Fewer than a connection may have unanswered."""


@dataclass
class Slice:
    """What a codec was given at once."""

    turn: int
    """The turn of the loop in which it was."""
    size: int
    pieces: int = 0


class Turns:
    """Counts those of a loop, and what is given to codecs in each."""

    def __init__(self) -> None:
        self.count = 0
        self.slices: list[Slice] = []

    def start(self, loop: Any) -> None:
        self._check = loop.check()
        self._check.start(self._turned)

    def stop(self) -> None:
        self._check.stop()
        self._check.close()

    def _turned(self) -> None:
        self.count += 1

    def codec(self, base: type[Codec]) -> type[Codec]:
        """``base``, with what its clients send counted."""
        turns = self

        class Counted(base):  # type: ignore[valid-type,misc]
            def receive(self, stream: str, data: bytes) -> Iterable[Piece]:
                if stream != UPSTREAM:
                    yield from super().receive(stream, data)
                    return
                found = Slice(turns.count, len(data))
                turns.slices.append(found)
                for piece in super().receive(stream, data):
                    found.pieces += 1
                    yield piece

        return Counted


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def proxies(turns: Turns) -> Iterator[Proxies]:
    registry = Registry(entry_points(group=TOXICS), entry_points(group=PROTOCOLS))
    registry.protocols["redis"] = turns.codec(Redis)
    with Proxies(registry=registry) as found:
        found.thread.call(turns.start, found.thread.loop)
        yield found
        found.thread.call(turns.stop)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls(tmp_path_factory.mktemp("tls"))


def read_to_end(end: End) -> bytes:
    data = bytearray()
    while more := end.recv(1 << 16):
        data += more
    return bytes(data)


def relayed(proxies: Proxies, kind: str, folder: Path, tls: Tls, armed: bool, data: bytes) -> None:
    """``data`` arrives, and then the end of the stream."""
    server = listen(kind, folder, tls)
    with server.sock:
        made = replace(spec("a", kind, server, folder, tls), protocol="redis")
        toxics = [ToxicSpec("redis_busy", exchange={"kind": "GET"})] if armed else []
        proxy = proxies.create(made, toxics)
        with pair(kind, proxy.listen, server, tls) as (client, there):
            client.sendall(data)
            client.finish()
            assert read_to_end(there) == data


@pytest.mark.parametrize("armed", [False, True])
@pytest.mark.parametrize("kind", ["tcp4", "tls"])
def test_a_flood_of_short_messages_leaves_the_loop_to_others(
    turns: Turns, proxies: Proxies, tmp_path: Path, tls: Tls, kind: str, armed: bool
) -> None:
    relayed(proxies, kind, tmp_path, tls, armed, COMMAND * COUNT)
    assert sum(each.pieces for each in turns.slices) == COUNT
    assert max(each.pieces for each in turns.slices) <= SLICE[UPSTREAM] / len(COMMAND)
    # What a TLS end holds is read by a timer, and what has come since by an event.
    most = 2 if kind == "tls" else 1
    assert max(Counter(each.turn for each in turns.slices).values()) <= most


def test_nor_does_one_of_requests_to_the_app(
    turns: Turns, proxies: Proxies, tmp_path: Path, tls: Tls
) -> None:
    request = b"GET / HTTP/1.1\r\n\r\n"
    count = 2_000
    clock = MonotonicClock()
    journal = Journal(tmp_path / "journal", Manifest(SCHEMA, "0", 1, clock.domain, ""), clock.now)
    hub = Hub(journal, clock, tuple, lambda *record: None)
    proxies.follow(Front(hub, turns.codec(Http)).follow)
    server = listen("tcp4", tmp_path, tls)
    with server.sock:
        proxy = proxies.create(
            replace(spec(FRONT, "tcp4", server, tmp_path, tls), front=FrontOptions())
        )
        with pair("tcp4", proxy.listen, server, tls) as (client, there):
            client.sendall(request * count)
            client.finish()
            assert read_to_end(there).count(b"traceparent") == count
    journal.close()
    assert sum(each.pieces for each in turns.slices) == count
    assert max(each.pieces for each in turns.slices) <= SLICE[UPSTREAM] / len(request) + 1


@pytest.mark.parametrize("armed", [False, True])
def test_a_payload_is_read_in_large_parts(
    turns: Turns, proxies: Proxies, tmp_path: Path, tls: Tls, armed: bool
) -> None:
    size = 4 << 20
    data = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n" % (size, bytes(size))
    relayed(proxies, "tcp4", tmp_path, tls, armed, data)
    assert max(each.size for each in turns.slices) == SMALL
