"""Proxies and toxics as control sees them, and plug-ins on live connections."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest

from seism.errors import Conflict, NotFound, Unavailable
from seism.model import ProxySpec, ToxicSpec
from seism.options import option
from seism.registry import TOXICS, Registry
from seism.toxics.base import Began, Chunk, Commands, Ended, Forward, Reset, Rng, Stage, Toxic
from seism_middleware.contract import Proxied
from tests.proxy.harness import Backend, Proxies, backend, eventually, exchange, read_exactly

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    with Proxies() as found:
        yield found


def test_whoever_wants_to_know_hears_of_changed_addresses_only(proxies: Proxies) -> None:
    made = proxies.create(ProxySpec("a", NOWHERE))
    proxied = (Proxied("a", *made.address),)
    assert proxies.changes == [proxied]
    proxies.toxic("a", "latency", latency=1)
    proxies.update("a", enabled=False)
    proxies.update("a", upstream="127.0.0.1:2")
    assert proxies.proxied() == proxied
    assert proxies.changes == [proxied]
    proxies.delete("a")
    assert proxies.changes == [proxied, ()]


def test_a_proxy_that_is_made_down_is_down_until_it_is_enabled(proxies: Proxies) -> None:
    made = proxies.create(ProxySpec("a", NOWHERE, enabled=False))
    assert (made.enabled, made.address, proxies.proxied()) == (False, None, ())
    proxies.update("a", enabled=True)
    assert made.address is not None
    assert [each.outcome for each in proxies.ended(1)] == ["enabled"]


def test_the_port_is_kept_across_down(proxies: Proxies) -> None:
    made = proxies.create(ProxySpec("a", NOWHERE))
    listen = made.listen
    proxies.update("a", enabled=False)
    assert made.listen == listen
    assert proxies.update("a", enabled=True).listen == listen


def test_nobody_gets_the_port_by_chance_while_it_is_down(proxies: Proxies) -> None:
    """A bound port is none that the kernel picks for a connection of another process."""
    made = proxies.create(ProxySpec("a", NOWHERE))
    proxies.update("a", enabled=False)
    assert made.address is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(made.address)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(made.address)
    proxies.update("a", enabled=True)
    socket.create_connection(made.address).close()


@pytest.mark.parametrize("enabled", [True, False])
def test_a_proxy_that_is_removed_frees_its_port(proxies: Proxies, enabled: bool) -> None:
    made = proxies.create(ProxySpec("a", NOWHERE))
    proxies.update("a", enabled=enabled)
    assert made.address is not None
    proxies.delete("a")
    with socket.create_server(made.address):
        pass


def test_a_port_that_was_taken_meanwhile_keeps_it_down(proxies: Proxies) -> None:
    made = proxies.create(ProxySpec("a", NOWHERE))
    proxies.update("a", enabled=False)
    with socket.create_server(made.address):
        with pytest.raises(Unavailable, match=f"cannot listen on {made.listen}"):
            proxies.update("a", enabled=True)
        with pytest.raises(Unavailable, match=f"cannot listen on {made.listen}"):
            proxies.reset()
        assert not made.enabled
    proxies.reset()
    assert made.enabled


def test_a_new_listen_address_that_cannot_be_had_changes_nothing(proxies: Proxies) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        made = proxies.create(ProxySpec("a", NOWHERE))
        before = made.listen
        with pytest.raises(Unavailable):
            proxies.update("a", listen="{}:{}".format(*taken.getsockname()))
        assert (made.listen, made.enabled) == (before, True)
        socket.create_connection(made.address).close()


def test_another_listen_address(proxies: Proxies) -> None:
    made = proxies.create(ProxySpec("a", NOWHERE))
    before = made.address
    proxies.update("a", listen="localhost:0")
    assert made.address != before
    socket.create_connection(made.address).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(before)


def test_names_are_unique_and_must_exist(proxies: Proxies) -> None:
    proxies.create(ProxySpec("a", NOWHERE))
    with pytest.raises(Conflict):
        proxies.create(ProxySpec("a", NOWHERE))
    for call in (
        lambda: proxies.get("b"),
        lambda: proxies.delete("b"),
        lambda: proxies.update("b"),
        lambda: proxies.add_toxic("b", ToxicSpec("latency")),
        lambda: proxies.update_toxic("a", "b"),
        lambda: proxies.remove_toxic("a", "b"),
    ):
        with pytest.raises(NotFound):
            call()


def test_deleting_cuts_connections_and_says_so() -> None:
    with backend() as behind:
        client, _ = behind.pair()
        behind.proxies.delete("backend")
        assert client.recv(1) == b""
        assert [(each.type, each.stream) for each in behind.proxies.began] == [("down", "")]
        assert [each.outcome for each in behind.proxies.ended(1)] == ["closed"]


def test_toxics_act_in_the_order_of_their_creation_whatever_changes() -> None:
    with backend() as behind:
        behind.proxies.toxic("backend", "latency", name="a", latency=1, toxicity=0)
        behind.proxies.toxic("backend", "latency", name="b", latency=1)
        client, server = behind.pair()
        exchange(client, server, b"ping", b"pong")
        behind.proxies.update_toxic("backend", "a", toxicity=1)
        exchange(client, server, b"ping", b"pong")
        assert [each.toxic for each in behind.proxies.began] == ["b", "a", "b"]


# Plug-ins: what later toxics will need, and what a bad one must not break.


@dataclass(frozen=True, slots=True)
class Refuse(Toxic):
    """Acts before the backend is asked."""

    type: ClassVar[str] = "refuse"

    def stage(self, rng: Rng) -> Stage:
        return _Refuse()


class _Refuse(Stage):
    def started(self, now: float) -> Commands:
        return (Began(), Ended("reset"), Reset())


@dataclass(frozen=True, slots=True)
class Cut(Toxic):
    """Changes bytes in the middle of a chunk, and cuts it into pieces."""

    type: ClassVar[str] = "cut"
    from_: int = option(0, help="first byte of the stream that is changed", minimum=0)

    def stage(self, rng: Rng) -> Stage:
        return _Cut(self.from_)


class _Cut(Stage):
    def __init__(self, start: int) -> None:
        self._start = start

    def data(self, chunk: Chunk, now: float) -> Commands:
        at = max(0, self._start - chunk.offset)
        if head := chunk.data[:at]:
            yield Forward(Chunk(head, chunk.offset))
        if tail := chunk.data[at:]:
            yield Began(chunk.offset + at)
            yield Forward(Chunk(tail.upper(), chunk.offset + at))
            yield Ended("passed")


@dataclass(frozen=True, slots=True)
class Broken(Toxic):
    type: ClassVar[str] = "broken"

    def stage(self, rng: Rng) -> Stage:
        return _Broken()


class _Broken(Stage):
    def data(self, chunk: Chunk, now: float) -> Commands:
        yield Began()
        yield Began()
        raise RuntimeError("a bug in a toxic")

    def removed(self, now: float) -> Commands:
        raise RuntimeError("another bug")


@pytest.fixture
def behind() -> Iterator[Backend]:
    plugged = [
        EntryPoint(name, f"{__name__}:{name.capitalize()}", TOXICS)
        for name in ("refuse", "cut", "broken")
    ]
    with backend(registry=Registry(plugged)) as found:
        yield found


def test_a_toxic_can_act_before_the_backend_is_asked(behind: Backend) -> None:
    behind.proxies.toxic("backend", "refuse", stream="upstream")
    with pytest.raises(ConnectionResetError):
        behind.connect().recv(1)
    (began,) = behind.proxies.began
    assert (began.offset, began.source) == (0, "")
    behind.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        behind.listener.accept()


def test_a_toxic_can_change_part_of_a_chunk(behind: Backend) -> None:
    behind.proxies.toxic("backend", "cut", stream="upstream", **{"from": 3})
    client, server = behind.pair()
    client.sendall(b"abcdef")
    assert read_exactly(server, 6) == b"abcDEF"
    (ended,) = behind.proxies.ended(1)
    assert (behind.proxies.began[0].offset, ended.offset) == (3, 6)
    assert behind.proxy.toxic("cut_upstream").spec.attributes == {"from": 3}


def test_a_broken_toxic_resets_its_connection_and_no_other(
    behind: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    client, server = behind.pair()
    behind.proxies.toxic("backend", "broken", toxicity=1)
    server.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert [each.outcome for each in behind.proxies.ended(2)] == ["lost", "lost"]
    assert "a bug in a toxic" in caplog.text
    idle, _ = behind.pair()
    behind.proxies.remove_toxic("backend", "broken_downstream")
    with pytest.raises(ConnectionResetError):
        idle.recv(1)
    assert "another bug" in caplog.text
    exchange(*behind.pair(), b"ping", b"pong")


def test_a_backend_that_moves_is_looked_up_again() -> None:
    with backend() as behind:
        _, port = behind.listener.getsockname()
        behind.proxies.update("backend", upstream=f"localhost:{port}")
        behind.listener.close()
        with pytest.raises(ConnectionResetError):
            behind.connect().recv(1)
        eventually(lambda: behind.proxy.connections == 0)
        behind.listener = socket.create_server(("127.0.0.1", port))
        behind.listener.settimeout(10)
        exchange(*behind.pair(), b"ping", b"pong")
