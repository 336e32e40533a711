"""The n-th turn: which exchange is perturbed, whatever the clock says."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from seism.errors import ConfigurationError
from seism.model import ToxicSpec
from tests.proxy.harness import Backend, backend, eventually, exchange


@pytest.fixture
def behind() -> Iterator[Backend]:
    with backend() as found:
        yield found


def add(behind: Backend, type: str, turn: int, stream: str = "upstream", **attributes: int) -> None:
    spec = ToxicSpec(type, "t", stream, 1.0, attributes, turn=turn)
    behind.proxies.add_toxic(behind.name, spec)


def converse(client: socket.socket, server: socket.socket, turns: int) -> int:
    """How many turns got their answer."""
    for turn in range(turns):
        try:
            client.sendall(b"ask")
            if server.recv(10) != b"ask":
                return turn
            server.sendall(b"answer")
            if client.recv(10) != b"answer":
                return turn
        except OSError:
            return turn
    return turns


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("turn", [1, 2, 5])
def test_the_nth_turn_after_the_toxic_came(
    behind: Backend, stream: str, before: int, turn: int
) -> None:
    client, server = behind.pair()
    assert converse(client, server, before) == before
    add(behind, "reset_peer", turn, stream)
    assert converse(client, server, 8) == turn - 1
    (began,) = behind.proxies.began
    assert began.offset == 3 * (before + turn - 1) + (3 if stream == "downstream" else 0)
    assert (began.since if stream == "downstream" else began.offset) == 3 * (before + turn - 1)


def test_turns_are_counted_over_all_connections(behind: Backend) -> None:
    first, second = behind.pair(), behind.pair()
    add(behind, "reset_peer", 3)
    assert converse(*first, 1) == 1
    assert converse(*second, 1) == 1
    assert converse(*first, 1) == 0
    assert converse(*second, 4) == 4
    assert converse(*behind.pair(), 4) == 4


def test_a_question_in_pieces_is_one_turn(behind: Backend) -> None:
    client, server = behind.pair()
    add(behind, "reset_peer", 2)
    for piece in (b"a", b"b", b"c"):
        client.sendall(piece)
        assert server.recv(10) == piece
    server.sendall(b"answer")
    assert client.recv(10) == b"answer"
    assert converse(client, server, 1) == 0


def test_a_turn_that_never_came_is_no_perturbation(behind: Backend) -> None:
    client, server = behind.pair()
    add(behind, "latency", 9, latency=60_000)
    assert converse(client, server, 3) == 3
    behind.proxies.remove_toxic(behind.name, "t")
    exchange(client, server, b"a", b"b")
    assert behind.proxies.began == []


def test_removed_while_it_holds_bytes(behind: Backend) -> None:
    client, server = behind.pair()
    add(behind, "latency", 2, latency=60_000)
    assert converse(client, server, 1) == 1
    client.sendall(b"late")
    eventually(lambda: behind.proxies.began)
    behind.proxies.remove_toxic(behind.name, "t")
    assert server.recv(10) == b"late"


def test_not_for_toxics_of_the_connect(behind: Backend) -> None:
    with pytest.raises(ConfigurationError, match="turn: refuse acts before there is any"):
        add(behind, "refuse", 1)


def test_a_delay_is_of_its_turn_alone(behind: Backend) -> None:
    client, server = behind.pair()
    add(behind, "latency", 2, latency=100)
    assert converse(client, server, 5) == 5
    (began,) = behind.proxies.began
    assert began.offset == 3
