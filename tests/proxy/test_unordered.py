"""Faults where replies carry ids and come in any order, and what a server says first.

The protocol of these tests has frames: an id, a length, a payload. A reply is as many frames as
it takes, the last one ends with a full stop; id 0 is the server's greeting.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar

import pytest

from seism.model import ProxySpec, ToxicSpec
from seism.protocols.base import COMMAND, CONNECT, Codec, Exchange, Piece, ProtocolError
from seism.protocols.fault import Answer, Close, Edit, Fault, Reaction, Replace
from seism.registry import PROTOCOLS, TOXICS, Registry
from seism.toxics.base import Rng
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.protocols.conformance import Conformance, Sample
from tests.proxy.harness import Backend, Proxies, eventually, read_all, read_exactly


def frame(number: int, payload: bytes) -> bytes:
    return bytes((number, len(payload))) + payload


@dataclass(frozen=True, slots=True)
class IdsBusy(Fault):
    """Busy."""

    type: ClassVar[str] = "ids_busy"
    protocol: ClassVar[str] = "ids"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Answer(frame(exchange.number, b"busy."))


@dataclass(frozen=True, slots=True)
class IdsEmpty(Fault):
    """Carried out, and nothing to tell of it."""

    type: ClassVar[str] = "ids_empty"
    protocol: ClassVar[str] = "ids"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Replace(frame(exchange.number, b"."))


@dataclass(frozen=True, slots=True)
class IdsLoud(Fault):
    """In capitals."""

    type: ClassVar[str] = "ids_loud"
    protocol: ClassVar[str] = "ids"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Loud()


class _Loud(Edit):
    def edit(self, piece: Piece) -> bytes:
        if b"mistake" in piece.data:
            raise ZeroDivisionError("a fault's own")
        return piece.data.upper()


@dataclass(frozen=True, slots=True)
class IdsFull(Fault):
    """No more clients."""

    type: ClassVar[str] = "ids_full"
    protocol: ClassVar[str] = "ids"
    phases: ClassVar[tuple[str, ...]] = (CONNECT,)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Answer(frame(0, b"full."), Close())


class Ids(Codec):
    """Frames with ids. Ids count up from 1, as exchanges do."""

    name = "ids"
    ordered = False
    phases: ClassVar[dict[str, str]] = {CONNECT: "the greeting", COMMAND: "a request"}
    faults = (IdsBusy, IdsEmpty, IdsLoud, IdsFull)

    def __init__(self) -> None:
        super().__init__()
        self._held = {UPSTREAM: b"", DOWNSTREAM: b""}
        self._left = {UPSTREAM: 0, DOWNSTREAM: 0}
        self._whose: dict[str, Exchange | None] = {UPSTREAM: None, DOWNSTREAM: None}
        self._pending: dict[int, Exchange] = {0: Exchange(0, "greeting", CONNECT)}
        self._begun: set[int] = set()

    def receive(self, stream: str, data: bytes) -> Iterator[Piece]:
        self._held[stream] += data
        if b"crash" in data:
            raise ZeroDivisionError("the codec's own")
        while self._held[stream]:
            held = self._held[stream]
            first = False
            size = min(self._left[stream], len(held))
            if not size:
                if len(held) < 3:
                    return
                if not held[1]:
                    raise ProtocolError("an empty frame")
                first = self._begin(stream, held[0])
                self._left[stream] = held[1] + 2
                size = min(self._left[stream], len(held))
            self._left[stream] -= size
            self._held[stream] = held[size:]
            yield self._piece(stream, held[:size], first)

    def _begin(self, stream: str, number: int) -> bool:
        if stream == UPSTREAM:
            if number in self._pending:
                raise ProtocolError("an id that is in use")
            self._pending[number] = Exchange(number, "request")
        elif number not in self._pending:
            raise ProtocolError("a reply to nothing")
        self._whose[stream] = self._pending[number]
        new = stream == UPSTREAM or number not in self._begun
        self._begun.add(number if stream == DOWNSTREAM else -1)
        return new

    def _piece(self, stream: str, data: bytes, first: bool) -> Piece:
        exchange, whole = self._whose[stream], not self._left[stream]
        assert exchange is not None
        last = whole and (stream == UPSTREAM or data.endswith(b"."))
        if stream == UPSTREAM:
            exchange.request_size += len(data)
        else:
            exchange.reply_size += len(data)
            if last:
                exchange.answered = True
                del self._pending[exchange.number]
                self._begun.discard(exchange.number)
        return Piece(data, exchange, first, last, cut=not whole)

    def eof(self, stream: str) -> Iterator[Piece]:
        held, self._held[stream] = self._held[stream], b""
        if held:
            yield Piece(held, None)

    def held(self, stream: str) -> bytes:
        return self._held[stream]

    def skip(self, exchange: Exchange) -> None:
        del self._pending[exchange.number]


class TestIds(Conformance):
    codec = Ids
    samples = (
        Sample(
            "crossing",
            [
                (DOWNSTREAM, frame(0, b"hello.")),
                (UPSTREAM, frame(1, b"one") + frame(2, b"two")),
                (DOWNSTREAM, frame(2, b"2.") + frame(1, b"1") + frame(1, b"1.")),
            ],
            ["request", "request"],
        ),
    )


HELLO = frame(0, b"hello.")


class Speaking(Backend):
    def __init__(self, proxies: Proxies) -> None:
        super().__init__(proxies, "unused")
        self.proxy = proxies.create(ProxySpec("ids", self.address, protocol="ids"))

    def arm(self, type: str, **exchange: Any) -> None:
        self.proxies.add_toxic("ids", ToxicSpec(type, type, exchange=exchange))

    def greeted(self) -> tuple[socket.socket, socket.socket]:
        client, server = self.pair()
        server.sendall(HELLO)
        assert read_exactly(client, len(HELLO)) == HELLO
        return client, server


@pytest.fixture
def behind() -> Iterator[Speaking]:
    known = EntryPoint("ids", f"{__name__}:Ids", PROTOCOLS)
    registry = Registry(entry_points(group=TOXICS), [known])
    assert registry.failures == []
    with Proxies(registry=registry) as proxies:
        backend = Speaking(proxies)
        try:
            yield backend
        finally:
            backend.close()


def test_an_answer_waits_for_nobody(behind: Speaking) -> None:
    client, server = behind.greeted()
    behind.arm("ids_busy", nth=2)
    client.sendall(frame(1, b"one") + frame(2, b"two") + frame(3, b"three"))
    rest = frame(1, b"one") + frame(3, b"three")
    assert read_exactly(server, len(rest)) == rest
    assert read_exactly(client, 7) == frame(2, b"busy.")
    server.sendall(frame(3, b"3.") + frame(1, b"1."))
    assert read_exactly(client, 8) == frame(3, b"3.") + frame(1, b"1.")
    (began,), (ended,) = behind.proxies.began, behind.proxies.ended(1)
    assert (began.offset, ended.offset, began.exchange.number) == (5, 10, 2)


def test_nothing_goes_into_the_middle_of_a_message(behind: Speaking) -> None:
    client, server = behind.greeted()
    behind.arm("ids_busy", nth=2)
    client.sendall(frame(1, b"one"))
    assert read_exactly(server, 5) == frame(1, b"one")
    long = frame(1, b"a long reply.")
    server.sendall(long[:6])
    assert read_exactly(client, 6) == long[:6]
    client.sendall(frame(2, b"two"))
    eventually(lambda: behind.proxies.began)
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(20)
    server.sendall(long[6:])
    assert read_exactly(client, len(long) - 6 + 7) == long[6:] + frame(2, b"busy.")


def test_one_late_reply_holds_no_other(behind: Speaking) -> None:
    client, server = behind.greeted()
    behind.proxies.add_toxic(
        "ids", ToxicSpec("exchange_delay", "late", attributes={"delay": 60_000},
                         exchange={"nth": 1})
    )  # fmt: skip
    client.sendall(frame(1, b"one") + frame(2, b"two"))
    assert read_exactly(server, 10) == frame(1, b"one") + frame(2, b"two")
    server.sendall(frame(1, b"1.") + frame(2, b"2."))
    assert read_exactly(client, 4) == frame(2, b"2.")
    behind.proxies.remove_toxic("ids", "late")
    assert read_exactly(client, 4) == frame(1, b"1.")


def test_a_reply_that_is_replaced_or_edited(behind: Speaking) -> None:
    client, server = behind.greeted()
    behind.arm("ids_empty", nth=1)
    behind.arm("ids_loud")
    client.sendall(frame(1, b"one") + frame(2, b"two"))
    assert read_exactly(server, 10) == frame(1, b"one") + frame(2, b"two")
    server.sendall(frame(2, b"two") + frame(1, b"part") + frame(1, b"rest.") + frame(2, b"end."))
    assert read_exactly(client, 14) == frame(2, b"TWO") + frame(1, b".") + frame(2, b"END.")
    outcomes = [ended.outcome for ended in behind.proxies.ended(2)]
    assert outcomes == ["changed", "changed"]


def test_the_greeting_can_be_another_one(behind: Speaking) -> None:
    behind.arm("ids_full", first=1)
    client, server = behind.pair()
    server.sendall(HELLO)
    assert read_all(client) == frame(0, b"full.")
    assert read_all(server) == b""
    (began,), (ended,) = behind.proxies.began, behind.proxies.ended(1)
    assert (began.offset, began.exchange.number, began.exchange.phase) == (0, 0, "connect")
    assert (ended.outcome, ended.offset, ended.reply_size) == ("closed", 0, 7)
    behind.greeted()


def test_a_fault_that_comes_after_the_greeting_has_begun(behind: Speaking) -> None:
    client, server = behind.pair()
    server.sendall(HELLO[:4])
    assert read_exactly(client, 4) == HELLO[:4]
    behind.arm("ids_full")
    server.sendall(HELLO[4:])
    assert read_exactly(client, 4) == HELLO[4:]
    assert behind.proxies.began == []


def test_a_codec_with_a_mistake_is_not_asked_again(behind: Speaking) -> None:
    client, server = behind.greeted()
    behind.arm("ids_busy")
    for data in (frame(1, b"crash"), frame(2, b"two")):
        client.sendall(data)
        assert read_exactly(server, len(data)) == data
    assert dict(behind.proxy.opaque) == {"the codec failed": 1}


def test_a_fault_with_a_mistake_costs_its_connection_and_no_other(behind: Speaking) -> None:
    client, server = behind.greeted()
    behind.arm("ids_loud")
    client.sendall(frame(1, b"one"))
    assert read_exactly(server, 5) == frame(1, b"one")
    server.sendall(frame(1, b"mistake."))
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert dict(behind.proxy.opaque) == {}
    behind.greeted()
