"""A toxic waits for an observer that asked to look, and for no longer than it may."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from seism.proxy.perturbation import Holds
from tests.proxy.harness import Backend, backend, eventually, exchange, read_exactly

LONG = 15.0
"""Seconds that no test waits: what goes on before has been released."""


@pytest.fixture
def behind() -> Iterator[Backend]:
    with backend() as found:
        yield found


def ask(behind: Backend, client: socket.socket, owner: object, limit: float = LONG) -> Holds:
    holds = behind.proxies.hold(limit)
    host, port = client.getsockname()
    behind.proxies.thread.call(holds.ask, owner, [f"{host}:{port}"])
    assert isinstance(holds, Holds)
    return holds


def pending(client: socket.socket) -> bool:
    """Whether the connection is whole and nothing has come, for a moment at least."""
    client.settimeout(0.1)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    return False


def was_reset(client: socket.socket) -> bool:
    client.settimeout(10)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    return True


def test_a_reset_waits_until_the_owner_has_looked(behind: Backend) -> None:
    client, _ = behind.pair()
    holds = ask(behind, client, "worker")
    behind.proxies.toxic("backend", "reset_peer", stream="upstream", timeout=0)
    client.sendall(b"question")
    eventually(lambda: behind.proxies.began)
    began = behind.proxies.began[0]
    assert began.hold == LONG
    behind.proxies.thread.call(holds.looked, "another", began.perturbation)
    assert pending(client)
    behind.proxies.thread.call(holds.looked, "worker", began.perturbation)
    assert was_reset(client)
    (ended,) = behind.proxies.ended(1)
    assert ended.outcome == "reset"
    assert 0.1 <= ended.held < LONG


def test_nobody_asked_and_nobody_waits(behind: Backend) -> None:
    client, _ = behind.pair()
    behind.proxies.hold(LONG)
    behind.proxies.toxic("backend", "reset_peer", stream="upstream", timeout=0)
    client.sendall(b"question")
    assert was_reset(client)
    assert behind.proxies.began[0].hold == 0
    assert behind.proxies.ended(1)[0].held == 0


@pytest.mark.parametrize("end", ["gone", "late"])
def test_a_worker_that_is_gone_or_late_is_not_waited_for(behind: Backend, end: str) -> None:
    client, server = behind.pair()
    holds = ask(behind, client, "worker", LONG if end == "gone" else 0.05)
    behind.proxies.toxic("backend", "latency", stream="upstream", latency=1)
    client.sendall(b"question")
    eventually(lambda: behind.proxies.began)
    if end == "gone":
        behind.proxies.thread.call(holds.forget, "worker")
    assert read_exactly(server, 8) == b"question"
    client.sendall(b"another.")
    assert read_exactly(server, 8) == b"another."


def test_bytes_keep_their_order_through_a_hold(behind: Backend) -> None:
    client, server = behind.pair()
    ask(behind, client, "worker", 0.05)
    behind.proxies.toxic("backend", "latency", stream="upstream", latency=1)
    behind.proxies.toxic("backend", "slicer", stream="upstream", average_size=3, size_variation=1)
    sent = bytes(range(256)) * 40
    for start in range(0, len(sent), 1000):
        client.sendall(sent[start : start + 1000])
    assert read_exactly(server, len(sent)) == sent


def test_a_hold_is_a_part_of_an_injected_delay(behind: Backend) -> None:
    client, server = behind.pair()
    ask(behind, client, "worker", 0.2)
    behind.proxies.toxic("backend", "latency", stream="upstream", latency=200)
    began = time.monotonic()
    client.sendall(b"question")
    read_exactly(server, 8)
    taken = time.monotonic() - began
    (ended,) = behind.proxies.ended(1)
    assert 0.2 <= taken < 0.4
    assert ended.held >= 0.2


def test_taking_the_toxic_away_ends_the_hold(behind: Backend) -> None:
    client, server = behind.pair()
    ask(behind, client, "worker")
    behind.proxies.toxic("backend", "latency", name="slow", stream="upstream", latency=1)
    client.sendall(b"question")
    eventually(lambda: behind.proxies.began)
    behind.proxies.remove_toxic("backend", "slow")
    assert read_exactly(server, 8) == b"question"
    exchange(client, server, b"and", b"so on")


def test_a_client_that_leaves_meanwhile(behind: Backend) -> None:
    client, server = behind.pair()
    holds = ask(behind, client, "worker")
    behind.proxies.toxic("backend", "latency", stream="upstream", latency=1)
    client.sendall(b"question")
    eventually(lambda: behind.proxies.began)
    server.close()
    client.close()
    behind.proxies.thread.call(holds.looked, "worker", behind.proxies.began[0].perturbation)
    behind.proxies.ended(1)
