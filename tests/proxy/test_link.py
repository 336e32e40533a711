"""What goes in comes out: bytes, ends, resets, pressure; first without toxics, then with."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seism.proxy.chain import HELD_LIMIT
from tests.proxy.harness import (
    Backend,
    backend,
    eventually,
    exchange,
    read_all,
    read_exactly,
    reset,
)

CHUNKS = st.lists(st.integers(1, 200_000), max_size=6)


@pytest.fixture(scope="module")
def plain() -> Iterator[Backend]:
    with backend() as behind:
        yield behind


@pytest.fixture(scope="module")
def armed() -> Iterator[Backend]:
    """Every byte goes through stages that have nothing to do to it."""
    with backend() as behind:
        behind.proxies.toxic("backend", "latency", stream="upstream")
        behind.proxies.toxic("backend", "latency", stream="downstream")
        yield behind


@pytest.fixture(params=["plain", "armed"])
def behind(request: pytest.FixtureRequest) -> Iterator[Backend]:
    found: Backend = request.getfixturevalue(request.param)
    yield found
    found.hang_up()


def pattern(size: int, start: int) -> bytes:
    return bytes((start + number * 7) % 251 for number in range(251)) * (size // 251 + 1)


def send(sock: socket.socket, sizes: list[int], sent: list[bytes]) -> None:
    for number, size in enumerate(sizes):
        data = pattern(size, number)[:size]
        sent.append(data)
        sock.sendall(data)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(up=CHUNKS, down=CHUNKS, ending=st.sampled_from(["client", "server", "both"]))
def test_streams_and_their_ends_pass_as_they_are(
    behind: Backend, up: list[int], down: list[int], ending: str
) -> None:
    client, server = behind.pair()
    with client, server:
        sent: dict[str, list[bytes]] = {"up": [], "down": []}

        def talk(sock: socket.socket, sizes: list[int], key: str, ends: bool) -> None:
            send(sock, sizes, sent[key])
            if ends:
                sock.shutdown(socket.SHUT_WR)

        threads = [
            threading.Thread(target=talk, args=(client, up, "up", ending != "server")),
            threading.Thread(target=talk, args=(server, down, "down", ending != "client")),
        ]
        got: dict[str, bytes] = {}

        def listen(sock: socket.socket, key: str, size: int, ends: bool) -> None:
            got[key] = read_all(sock) if ends else read_exactly(sock, size)

        threads += [
            threading.Thread(target=listen, args=(server, "up", sum(up), ending != "server")),
            threading.Thread(target=listen, args=(client, "down", sum(down), ending != "client")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == {key: b"".join(parts) for key, parts in sent.items()}


def test_a_half_closed_client_still_gets_its_reply(behind: Backend) -> None:
    client, server = behind.pair()
    client.sendall(b"all of it")
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b"all of it"
    server.sendall(b"the reply")
    server.close()
    assert read_all(client) == b"the reply"


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_arrives_as_a_reset(behind: Backend, who: str) -> None:
    client, server = behind.pair()
    exchange(client, server, b"ping", b"pong")
    first, second = (client, server) if who == "client" else (server, client)
    reset(first)
    with pytest.raises(ConnectionResetError):
        second.recv(1)
    eventually(lambda: behind.proxy.connections == 0)


def test_what_was_said_before_a_reset_arrives(behind: Backend) -> None:
    client, server = behind.pair()
    server.sendall(b"413, go away")
    reset(server)
    assert read_exactly(client, 12) == b"413, go away"
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_both_ends_closed_leaves_nothing(behind: Backend) -> None:
    client, server = behind.pair()
    client.close()
    assert read_all(server) == b""
    server.close()
    eventually(lambda: behind.proxy.connections == 0)


def test_a_receiver_that_stops_reading_stops_the_sender(behind: Backend) -> None:
    client, server = behind.pair()
    taken = fill(server)
    assert taken < 32 * 1024 * 1024
    server.setblocking(True)
    rest = threading.Thread(target=lambda: (server.sendall(b"end"), server.close()))
    rest.start()
    data = read_all(client)
    rest.join()
    assert len(data) == taken + 3
    assert data == pattern(taken, 0)[:taken] + b"end"


def test_a_queue_that_is_full_stops_the_sender_and_the_rest_arrives() -> None:
    with backend() as behind:
        behind.proxies.toxic("backend", "latency", stream="downstream", latency=3_600_000)
        client, server = behind.pair()
        taken = fill(server)
        assert HELD_LIMIT <= taken < HELD_LIMIT + 16 * 1024 * 1024
        server.setblocking(True)
        rest = threading.Thread(target=lambda: (server.sendall(b"end"), server.close()))
        rest.start()
        behind.proxies.remove_toxic("backend", "latency_downstream")
        data = read_all(client)
        rest.join()
        assert data == pattern(taken, 0)[:taken] + b"end"
        (ended,) = behind.proxies.ended(1)
        assert ended.outcome == "removed"


def fill(sock: socket.socket) -> int:
    """Send until nothing more is taken for a while; returns how much was."""
    data = pattern(251 * 256, 0)
    taken = 0
    sock.settimeout(0.5)
    while True:
        try:
            taken += sock.send(data[taken % 251 : 251 * 256])
        except TimeoutError:
            return taken


def test_a_refused_backend_resets_the_client() -> None:
    with backend() as behind:
        behind.listener.close()
        with pytest.raises(ConnectionResetError):
            behind.connect().recv(1)
        assert behind.proxies.records == []


def test_a_failing_receiver_of_records_perturbs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(record: object) -> None:
        raise RuntimeError("no room")

    with backend() as behind:
        behind.proxies.emit = fail
        behind.proxies.toxic("backend", "latency", latency=1)
        client, server = behind.pair()
        exchange(client, server, b"ping", b"pong")
    assert "could not be handed on" in caplog.text
