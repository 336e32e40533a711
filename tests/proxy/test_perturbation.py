"""What toxics do to live connections, and what is told of it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.harness import (
    Backend,
    backend,
    eventually,
    exchange,
    open_perturbations,
    read_all,
    read_exactly,
    reset,
)
from tests.timing import within


@pytest.fixture
def behind() -> Iterator[Backend]:
    with backend() as found:
        yield found


def test_each_exchange_is_one_perturbation_and_says_which_bytes(behind: Backend) -> None:
    client, server = behind.pair()
    exchange(client, server, b"12345", b"abc")  # before the toxic: its bytes count too
    behind.proxies.toxic("backend", "latency", stream="upstream", latency=20)
    for _ in range(2):
        exchange(client, server, b"1234567", b"abc")
    ended = behind.proxies.ended(2)
    began = behind.proxies.began
    assert [(each.offset, each.since) for each in began] == [(5, None), (12, None)]
    assert [(each.offset, each.outcome) for each in ended] == [(12, "passed"), (19, "passed")]
    assert [each.perturbation for each in began] == ["p1", "p2"]
    first = began[0]
    assert (first.proxy, first.toxic, first.type, first.stream) == (
        "backend", "latency_upstream", "latency", "upstream",
    )  # fmt: skip
    assert first.client == "{}:{}".format(*client.getsockname())
    assert first.listen == behind.proxy.listen == "{}:{}".format(*client.getpeername())
    assert first.source == "{}:{}".format(*server.getpeername())


def test_a_perturbed_reply_names_the_bytes_that_it_answers(behind: Backend) -> None:
    client, server = behind.pair()
    exchange(client, server, b"12345", b"abc")
    behind.proxies.toxic("backend", "latency", latency=20)
    exchange(client, server, b"1234567", b"abc")
    exchange(client, server, b"12", b"abc")
    ended = behind.proxies.ended(2)
    assert [(each.since, each.offset) for each in behind.proxies.began] == [(5, 12), (12, 14)]
    assert [each.offset for each in ended] == [12, 14]


def test_a_bulk_transfer_is_one_perturbation(behind: Backend) -> None:
    behind.proxies.toxic("backend", "latency", latency=200)
    client, server = behind.pair()
    size = 1_000_000
    server.sendall(bytes(size))
    assert read_exactly(client, size) == bytes(size)
    (ended,) = behind.proxies.ended(1)
    assert ended.outcome == "passed"
    assert len(behind.proxies.began) == 1


def test_latency_is_added_per_direction_and_chained_toxics_add(behind: Backend) -> None:
    behind.proxies.toxic("backend", "latency", stream="upstream", latency=40)
    behind.proxies.toxic("backend", "latency", latency=50)
    behind.proxies.toxic("backend", "latency", name="more", latency=60)
    client, server = behind.pair()
    assert within(exchange(client, server, b"ping", b"pong"), 0.150)
    assert [each.toxic for each in behind.proxies.began] == [
        "latency_upstream", "latency_downstream", "more",
    ]  # fmt: skip


def test_latency_delays_pipelined_messages_side_by_side(behind: Backend) -> None:
    behind.proxies.toxic("backend", "latency", stream="upstream", latency=200)
    client, server = behind.pair()
    sent = []
    for number in range(10):
        sent.append(time.monotonic())
        client.sendall(bytes([number]))
        time.sleep(0.01)
    for number in range(10):
        assert read_exactly(server, 1) == bytes([number])
        assert within(time.monotonic() - sent[number], 0.200)


def test_removing_latency_lets_the_held_bytes_go(behind: Backend) -> None:
    client, server = behind.pair()
    behind.proxies.toxic("backend", "latency", latency=3_600_000)
    server.sendall(b"held")
    eventually(lambda: behind.proxies.began)
    behind.proxies.remove_toxic("backend", "latency_downstream")
    assert read_exactly(client, 4) == b"held"
    assert [each.outcome for each in behind.proxies.ended(1)] == ["removed"]
    exchange(client, server, b"ping", b"pong")
    assert len(behind.proxies.began) == 1


def test_changing_latency_reaches_the_held_bytes(behind: Backend) -> None:
    client, server = behind.pair()
    behind.proxies.toxic("backend", "latency", latency=3_600_000)
    server.sendall(b"held")
    eventually(lambda: behind.proxies.began)
    behind.proxies.update_toxic("backend", "latency_downstream", attributes={"latency": 1})
    assert read_exactly(client, 4) == b"held"


def test_timeout_drops_and_closes(behind: Backend) -> None:
    behind.proxies.toxic("backend", "timeout", timeout=100)
    began = time.monotonic()
    client, server = behind.pair()
    server.sendall(b"dropped")
    assert read_all(client) == b""
    assert within(time.monotonic() - began, 0.100)
    assert read_all(server) == b""
    assert [each.outcome for each in behind.proxies.ended(1)] == ["closed"]


def test_a_silent_timeout_lasts_until_it_is_removed_and_closes_then(behind: Backend) -> None:
    client, server = behind.pair()
    behind.proxies.toxic("backend", "timeout", stream="upstream")
    client.sendall(b"dropped")
    eventually(lambda: behind.proxies.began)
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    behind.proxies.remove_toxic("backend", "timeout_upstream")
    assert read_all(server) == b""
    client.settimeout(10)
    assert client.recv(1) == b""
    (ended,) = behind.proxies.ended(1)
    assert (ended.outcome, ended.offset) == ("closed", 7)


def test_a_client_that_gives_up_leaves_nothing_behind(behind: Backend) -> None:
    behind.proxies.toxic("backend", "timeout", stream="upstream")
    client, server = behind.pair()
    client.sendall(b"dropped")
    eventually(lambda: behind.proxies.began)
    client.close()
    assert read_all(server) == b""
    server.close()
    eventually(lambda: behind.proxy.connections == 0)
    assert [each.outcome for each in behind.proxies.ended(1)] == ["lost"]


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_reset_peer_resets_both_sides_of_an_older_connection(behind: Backend, stream: str) -> None:
    client, server = behind.pair()
    exchange(client, server, b"ping", b"pong")
    behind.proxies.toxic("backend", "reset_peer", stream=stream)
    (client if stream == "upstream" else server).sendall(b"x")
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    (ended,) = behind.proxies.ended(1)
    assert (ended.outcome, ended.offset) == ("reset", 5 if stream == "upstream" else 4)


def test_reset_peer_waits_for_its_timeout(behind: Backend) -> None:
    behind.proxies.toxic("backend", "reset_peer", stream="upstream", timeout=100)
    client, _ = behind.pair()
    began = time.monotonic()
    client.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert within(time.monotonic() - began, 0.100)


def test_a_connection_that_dies_ends_what_was_open(behind: Backend) -> None:
    behind.proxies.toxic("backend", "latency", stream="upstream", latency=3_600_000)
    client, _ = behind.pair()
    client.sendall(b"held")
    eventually(lambda: behind.proxies.began)
    reset(client)
    (ended,) = behind.proxies.ended(1)
    assert (ended.outcome, ended.offset) == ("lost", 4)


def test_down_is_a_perturbation_and_cuts_are_too(behind: Backend) -> None:
    client, server = behind.pair()
    exchange(client, server, b"12345", b"abc")
    client.sendall(b"67")
    assert read_exactly(server, 2) == b"67"
    behind.proxies.update("backend", enabled=False)
    assert client.recv(1) == b""
    assert server.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(behind.proxy.address)
    whole, cut = behind.proxies.began
    assert (whole.toxic, whole.type, whole.client, whole.offset) == ("down", "down", "", None)
    assert (cut.toxic, cut.type, cut.since, cut.offset) == ("down", "down", 5, 7)
    assert cut.client == "{}:{}".format(*client.getsockname())
    assert open_perturbations(behind.proxies.records) == {whole.perturbation}

    behind.proxies.update("backend", enabled=True)
    first, second = behind.proxies.ended(2)
    assert (first.perturbation, first.outcome, first.offset) == (cut.perturbation, "closed", 7)
    assert (second.perturbation, second.outcome) == (whole.perturbation, "enabled")
    again = behind.pair()
    exchange(*again, b"ping", b"pong")


def test_down_says_fin_even_with_unread_bytes(behind: Backend) -> None:
    behind.proxies.toxic("backend", "latency", stream="upstream", latency=3_600_000)
    client, _ = behind.pair()
    client.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while True:
            client.send(bytes(65536))
    behind.proxies.update("backend", enabled=False)
    client.settimeout(10)
    assert client.recv(1) == b""


def hit(seed: int, *, unrelated_change: bool = False) -> list[int]:
    """Which of 40 connections a toxic with toxicity 0.5 affects."""
    with backend(seed=seed) as behind:
        behind.proxies.toxic("backend", "latency", toxicity=0.5, latency=1)
        pairs = [behind.pair() for _ in range(40)]
        if unrelated_change:
            behind.proxies.toxic("backend", "timeout", stream="upstream", toxicity=0)
            behind.proxies.update_toxic("backend", "latency_downstream", attributes={"latency": 2})
        clients = []
        for number, (client, server) in enumerate(pairs):
            before = len(behind.proxies.began)
            exchange(client, server, b"ping", b"pong")
            if len(behind.proxies.began) > before:
                clients.append(number)
        return clients


def test_toxicity_is_drawn_once_per_connection_from_the_seed() -> None:
    affected = hit(7)
    assert 8 < len(affected) < 32
    assert hit(7, unrelated_change=True) == affected
    assert hit(8) != affected


def test_toxicity_zero_has_no_effect_and_a_new_toxicity_applies_at_once(
    behind: Backend,
) -> None:
    behind.proxies.toxic("backend", "reset_peer", toxicity=0)
    client, server = behind.pair()
    exchange(client, server, b"ping", b"pong")
    assert behind.proxies.records == []
    behind.proxies.update_toxic("backend", "reset_peer_downstream", toxicity=1)
    server.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        client.recv(1)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.sampled_from(["latency", "timeout", "reset_peer"]),
            st.sampled_from(["upstream", "downstream"]),
            st.sampled_from([0, 1, 30, 3_600_000]),
        ),
        st.tuples(st.just("remove")),
        st.tuples(st.just("talk"), st.integers(0, 3)),
        st.tuples(st.just("close"), st.integers(0, 3)),
        st.tuples(st.just("reset"), st.integers(0, 3)),
        st.tuples(st.just("down")),
        st.tuples(st.just("up")),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(operations=OPERATIONS)
def test_whatever_happens_each_begin_has_one_end(operations: list[tuple[object, ...]]) -> None:
    with backend() as behind:
        ends = [sock for _ in range(4) for sock in behind.pair()]
        names = []
        for number, (kind, *rest) in enumerate(operations):
            if kind == "add":
                toxic, stream, milliseconds = rest
                attribute = "latency" if toxic == "latency" else "timeout"
                names.append(f"t{number}")
                behind.proxies.toxic(
                    "backend", str(toxic), stream=stream, name=names[-1],
                    **{attribute: milliseconds},
                )  # fmt: skip
            elif kind == "remove" and names:
                behind.proxies.remove_toxic("backend", names.pop(0))
            elif kind in ("down", "up"):
                behind.proxies.update("backend", enabled=kind == "up")
            elif kind in ("talk", "close", "reset"):
                sock = ends[rest[0] * 2]  # type: ignore[operator]
                with contextlib.suppress(OSError):
                    if kind == "talk":
                        sock.sendall(b"hello")
                        ends[rest[0] * 2 + 1].sendall(b"hello")  # type: ignore[operator]
                    elif kind == "close":
                        sock.close()
                    else:
                        reset(sock)
            open_perturbations(behind.proxies.records)
        behind.proxies.delete("backend")
        assert open_perturbations(behind.proxies.records) == set()
