"""Each toxic over real sockets: what both ends see of it, and what is told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from seism.toxics.bandwidth import TICK
from tests.proxy.harness import (
    Backend,
    backend,
    eventually,
    exchange,
    read_all,
    read_exactly,
    reset,
)
from tests.timing import within


@pytest.fixture
def behind() -> Iterator[Backend]:
    with backend() as found:
        yield found


def outcomes(behind: Backend, count: int) -> list[str]:
    return [each.outcome for each in behind.proxies.ended(count)]


def dialled(behind: Backend) -> bool:
    """Whether a connection has come to the backend."""
    behind.listener.settimeout(0.1)
    try:
        behind.listener.accept()[0].close()
    except TimeoutError:
        return False
    return True


def test_bandwidth_takes_the_time_that_its_rate_needs(behind: Backend) -> None:
    behind.proxies.toxic("backend", "bandwidth", rate=1000)
    client, server = behind.pair()
    began = time.monotonic()
    server.sendall(bytes(300_000))
    read_exactly(client, 300_000)
    assert within(time.monotonic() - began, 0.3)
    assert outcomes(behind, 1) == ["passed"]


def test_a_shared_bandwidth_is_for_all_connections_together(behind: Backend) -> None:
    behind.proxies.toxic("backend", "bandwidth", rate=1000, shared=True)
    pairs = [behind.pair() for _ in range(3)]
    began = time.monotonic()
    for _, server in pairs:
        server.sendall(bytes(100_000))
    for client, _ in pairs:
        read_exactly(client, 100_000)
    # Whatever the last places on the line were, no more than a tick of each is lost.
    assert within(time.monotonic() - began, 0.3 - 3 * TICK)


def test_a_shared_line_changes_for_all_at_once(behind: Backend) -> None:
    behind.proxies.toxic("backend", "bandwidth", rate=1, shared=True)
    pairs = [behind.pair() for _ in range(10)]
    for _, server in pairs:
        server.sendall(bytes(10_000))
    behind.proxies.update_toxic("backend", "bandwidth_downstream", attributes={"rate": 100_000})
    for client, _ in pairs:
        read_exactly(client, 10_000)


def test_bandwidth_zero_blocks_everything_in_bounded_memory(behind: Backend) -> None:
    behind.proxies.toxic("backend", "bandwidth", rate=0)
    client, server = behind.pair()
    server.settimeout(0.3)
    taken = 0
    with contextlib.suppress(TimeoutError):
        while True:
            taken += server.send(bytes(65536))
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    connection = next(iter(behind.proxy._connections))
    held = behind.proxies.thread.call(lambda: connection.down._chain.held)
    assert 0 < held < 200_000
    client.settimeout(20)
    behind.proxies.remove_toxic("backend", "bandwidth_downstream")
    read_exactly(client, taken)
    assert outcomes(behind, 1) == ["removed"]


def test_slow_close_delays_the_end_only(behind: Backend) -> None:
    behind.proxies.toxic("backend", "slow_close", delay=200)
    client, server = behind.pair()
    server.sendall(b"bye")
    began = time.monotonic()
    server.close()
    assert read_exactly(client, 3) == b"bye"
    assert client.recv(1) == b""
    assert within(time.monotonic() - began, 0.2)
    assert outcomes(behind, 1) == ["passed"]


def test_a_pending_close_happens_when_slow_close_goes(behind: Backend) -> None:
    behind.proxies.toxic("backend", "slow_close", delay=3_600_000)
    client, server = behind.pair()
    server.close()
    eventually(lambda: behind.proxies.began)
    behind.proxies.remove_toxic("backend", "slow_close_downstream")
    assert client.recv(1) == b""


def test_timeout_can_let_data_flow_until_then(behind: Backend) -> None:
    behind.proxies.toxic("backend", "timeout", timeout=300, flowing=True)
    began = time.monotonic()
    client, server = behind.pair()
    exchange(client, server, b"ping", b"pong")
    assert client.recv(1) == b""
    assert within(time.monotonic() - began, 0.3)
    assert outcomes(behind, 1) == ["closed"]


def test_a_slicer_lets_every_byte_through_and_takes_its_pauses(behind: Backend) -> None:
    behind.proxies.toxic("backend", "slicer", average_size=100, size_variation=50, delay=5000)
    client, server = behind.pair()
    data = bytes(range(250)) * 8
    began = time.monotonic()
    server.sendall(data)
    assert read_exactly(client, len(data)) == data
    # at least 2000 / 150 pieces, with a pause between two
    assert time.monotonic() - began > 13 * 0.005
    assert outcomes(behind, 1) == ["passed"]


def test_a_slicer_into_single_bytes_starves_nobody(behind: Backend) -> None:
    client, server = behind.pair()
    behind.proxies.toxic("backend", "slicer", average_size=1)
    data = bytes(range(256)) * 1000
    writer = threading.Thread(target=lambda: (server.sendall(data), server.close()))
    writer.start()
    for _ in range(5):
        behind.proxies.get("backend")
    assert read_all(client) == data
    writer.join()


def test_limit_data_delivers_exactly_so_much_even_to_a_slow_reader(behind: Backend) -> None:
    limit = 6_000_000
    behind.proxies.toxic("backend", "limit_data", bytes=limit)
    client, server = behind.pair()

    def flood() -> None:
        with contextlib.suppress(OSError):
            while True:
                server.sendall(bytes(65536))

    writer = threading.Thread(target=flood)
    writer.start()
    assert outcomes(behind, 0) == []
    time.sleep(0.2)  # what does not fit into the kernel's buffers waits in ours
    assert len(read_all(client)) == limit
    writer.join()
    assert outcomes(behind, 1) == ["closed"]
    eventually(lambda: behind.proxy.connections == 0)


def test_limit_data_after_a_delay_still_delivers_what_had_passed(behind: Backend) -> None:
    behind.proxies.toxic("backend", "limit_data", bytes=4)
    behind.proxies.toxic("backend", "latency", latency=50)
    client, server = behind.pair()
    server.sendall(b"abcdef")
    assert read_all(client) == b"abcd"
    assert read_all(server) == b""


def test_the_count_of_limit_data_survives_an_update(behind: Backend) -> None:
    behind.proxies.toxic("backend", "limit_data", bytes=10)
    client, server = behind.pair()
    server.sendall(b"abcd")
    assert read_exactly(client, 4) == b"abcd"
    behind.proxies.update_toxic("backend", "limit_data_downstream", attributes={"bytes": 6})
    server.sendall(b"efgh")
    assert read_all(client) == b"ef"


def test_close_after_can_reset(behind: Backend) -> None:
    behind.proxies.toxic("backend", "close_after", stream="upstream", messages=2, reset=True)
    client, server = behind.pair()
    exchange(client, server, b"one", b"reply")
    client.sendall(b"two")
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            read_all(end)
            end.recv(1)
    assert outcomes(behind, 1) == ["reset"]


def test_noop_is_there_and_does_nothing(behind: Backend) -> None:
    behind.proxies.toxic("backend", "noop")
    exchange(*behind.pair(), b"ping", b"pong")
    assert behind.proxies.records == []


@pytest.mark.parametrize(
    ("kind", "got"),
    [("drop", b""), ("duplicate", b"pingping"), ("reorder", b"ping"), ("flip", None)],
)
def test_corrupt(behind: Backend, kind: str, got: bytes | None) -> None:
    behind.proxies.toxic("backend", "corrupt", kind=kind, chance=1, wait=20)
    client, server = behind.pair()
    server.sendall(b"ping")
    server.close()
    seen = read_all(client)
    if got is None:
        assert len(seen) == 4
        assert sum((a ^ b).bit_count() for a, b in zip(seen, b"ping", strict=True)) == 1
    else:
        assert seen == got
    assert len(behind.proxies.ended(1)) == 1


def test_a_stall_pauses_and_loses_nothing(behind: Backend) -> None:
    behind.proxies.toxic("backend", "stall", chance=1, timeout=50, losses=2)
    client, server = behind.pair()
    assert within(exchange(client, server, b"ping", b"pong"), 0.15)


# The connection phase.


def test_refuse_resets_new_connections_and_spares_the_others(behind: Backend) -> None:
    older = behind.pair()
    behind.proxies.toxic("backend", "refuse")
    with pytest.raises(ConnectionResetError):
        behind.connect().recv(1)
    assert not dialled(behind)
    exchange(*older, b"ping", b"pong")
    assert outcomes(behind, 1) == ["reset"]


def test_accept_close_closes_without_asking_the_backend(behind: Backend) -> None:
    behind.proxies.toxic("backend", "accept_close", delay=100)
    began = time.monotonic()
    client = behind.connect()
    client.sendall(b"hello")
    assert client.recv(1) == b""
    assert within(time.monotonic() - began, 0.1)
    assert not dialled(behind)


def test_a_blackhole_swallows_megabytes_and_never_answers(behind: Backend) -> None:
    behind.proxies.toxic("backend", "blackhole")
    client = behind.connect()
    client.sendall(bytes(20_000_000))
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert not dialled(behind)
    client.settimeout(20)
    behind.proxies.remove_toxic("backend", "blackhole_downstream")
    assert client.recv(1) == b""
    assert outcomes(behind, 1) == ["closed"]


@pytest.mark.parametrize("leave", [socket.socket.close, reset])
@pytest.mark.parametrize("kind", ["blackhole", "accept_close", "connect_delay"])
def test_a_client_that_leaves_while_the_dial_is_held(
    behind: Backend, kind: str, leave: object
) -> None:
    delay = {} if kind == "blackhole" else {"delay": 3_600_000}
    behind.proxies.toxic("backend", kind, **delay)
    client = behind.connect()
    eventually(lambda: behind.proxies.began)
    leave(client)  # type: ignore[operator]
    if kind == "connect_delay" and leave is not reset:
        # It may still want an answer: its end is passed on, once there is a backend.
        behind.proxies.remove_toxic("backend", f"{kind}_downstream")
        server, _ = behind.listener.accept()
        with server:
            assert read_all(server) == b""
    eventually(lambda: behind.proxy.connections == 0)
    assert len(behind.proxies.ended(1)) == 1


def test_connect_delay_keeps_what_is_said_meanwhile(behind: Backend) -> None:
    behind.proxies.toxic("backend", "connect_delay", delay=200)
    began = time.monotonic()
    client = behind.connect()
    data = bytes(range(256)) * 4000
    writer = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(1)))
    writer.start()
    server, _ = behind.listener.accept()
    with server:
        server.settimeout(20)
        assert read_all(server) == data
        assert within(time.monotonic() - began, 0.2, late=2)
        server.sendall(b"reply")
    assert read_all(client) == b"reply"
    writer.join()
    assert outcomes(behind, 1) == ["passed"]


def test_what_is_said_before_the_dial_may_end_the_connection(
    behind: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    behind.proxies.toxic("backend", "connect_delay", delay=100)
    behind.proxies.toxic("backend", "limit_data", stream="upstream", bytes=0)
    client = behind.connect()
    client.sendall(b"ping")
    assert read_all(client) == b""
    assert outcomes(behind, 2) == ["closed", "passed"]
    behind.proxies.get("backend")  # the loop is done with it
    assert not caplog.records


def test_after_the_connection_phase_a_link_is_as_fast_as_ever(behind: Backend) -> None:
    behind.proxies.toxic("backend", "connect_delay", delay=1)
    exchange(*behind.pair(), b"ping", b"pong")
    (connection,) = behind.proxy._connections
    assert connection.up.names() == connection.down.names() == []


def test_removing_connect_delay_connects_at_once(behind: Backend) -> None:
    behind.proxies.toxic("backend", "connect_delay", delay=3_600_000)
    client = behind.connect()
    client.sendall(b"ping")
    eventually(lambda: behind.proxies.began)
    behind.proxies.remove_toxic("backend", "connect_delay_downstream")
    server, _ = behind.listener.accept()
    with server:
        assert read_exactly(server, 4) == b"ping"
    assert outcomes(behind, 1) == ["removed"]
