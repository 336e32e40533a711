"""Toxics of established connections: restart, goodbye, half_open; real servers, real clients."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from seism.demo.backends import DATABASE_USER, Backends
from seism.errors import ConfigurationError
from seism.model import ProxySpec, ToxicSpec
from tests.proxy.harness import (
    Backend,
    Proxies,
    backend,
    eventually,
    exchange,
    read_all,
    read_exactly,
)


@pytest.fixture
def behind() -> Iterator[Backend]:
    with backend() as found:
        yield found


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    with Backends(schema=()) as running:
        yield running.addresses


@pytest.fixture
def proxies(servers: dict[str, str]) -> Iterator[Proxies]:
    with Proxies() as made:
        made.create(ProxySpec("db", servers["db"], protocol="postgresql"))
        made.create(ProxySpec("cache", servers["cache"], protocol="redis"))
        yield made


def database(proxies: Proxies) -> psycopg.Connection:
    host, port = proxies.get("db").address
    return psycopg.connect(
        host=host, port=port, user=DATABASE_USER, dbname="postgres", autocommit=True
    )


def cache(proxies: Proxies, retries: int = 0) -> redis.Redis:
    host, port = proxies.get("cache").address
    retry = Retry(NoBackoff(), retries)
    return redis.Redis(host, port, socket_timeout=0.2, retry=retry, protocol=2)


def outcomes(proxies: Proxies, count: int) -> list[str]:
    return [each.outcome for each in proxies.ended(count)]


def ended(proxies: Proxies, name: str) -> None:
    """Waits until all connections of the proxy have got their end."""
    eventually(lambda: len(proxies.began) >= proxies.get(name).connections)


# restart


def test_a_parked_connection_ends_and_whoever_writes_gets_a_reset(behind: Backend) -> None:
    client, server = behind.pair()
    exchange(client, server, b"ping", b"pong")
    behind.proxies.toxic("backend", "restart")
    assert client.recv(1) == b""
    client.sendall(b"again")
    (end,) = behind.proxies.ended(1)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        client.sendall(b"and again")
    (began,) = behind.proxies.began
    assert (began.offset, began.stream) == (4, "upstream")
    assert (end.outcome, end.offset) == ("reset", 9)


def test_a_connection_in_use_ends_after_its_reply(behind: Backend) -> None:
    client, server = behind.pair()
    client.sendall(b"ping")
    assert read_exactly(server, 4) == b"ping"
    behind.proxies.toxic("backend", "restart")
    other, _ = behind.pair()
    server.sendall(b"pong")
    assert read_all(client) == b"pong"
    client.close()
    assert outcomes(behind.proxies, 1) == ["closed"]
    # The backend was back at once.
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(1)


def test_a_client_that_notices_the_end_is_left_alone_after_the_restart(behind: Backend) -> None:
    client, server = behind.pair()
    exchange(client, server, b"ping", b"pong")
    behind.proxies.toxic("backend", "restart")
    assert client.recv(1) == b""
    behind.proxies.remove_toxic("backend", "restart_downstream")
    assert behind.proxy.connections == 1
    client.close()
    assert outcomes(behind.proxies, 1) == ["closed"]


def test_a_pool_that_does_not_check_fails_once_and_one_that_retries_does_not(
    proxies: Proxies,
) -> None:
    naive, robust = database(proxies), cache(proxies, retries=1)
    naive.execute("SELECT 1")
    robust.set("a", "1")
    for name in ("db", "cache"):
        proxies.toxic(name, "restart")
    ended(proxies, "db")
    ended(proxies, "cache")
    with pytest.raises(psycopg.OperationalError):
        naive.execute("SELECT 1")
    assert robust.get("a") == b"1"
    naive.close()
    with database(proxies) as anew:
        anew.execute("SELECT 1")
    robust.close()


# goodbye


def test_the_last_words_are_the_servers_own(proxies: Proxies) -> None:
    client = database(proxies)
    proxies.toxic("db", "goodbye", code="57P05")
    ended(proxies, "db")
    with pytest.raises(psycopg.OperationalError) as caught:
        client.execute("SELECT 1")
    assert "idle-session timeout" in str(caught.value)
    client.close()


def test_without_words_the_end_is_silent(proxies: Proxies) -> None:
    client = cache(proxies, retries=1)
    client.set("a", "2")
    proxies.toxic("cache", "goodbye")
    ended(proxies, "cache")
    assert client.get("a") == b"2"
    client.close()


def test_words_that_the_protocol_does_not_have_are_refused(proxies: Proxies) -> None:
    with pytest.raises(ConfigurationError, match="expected one of 57P01, 57P05, got 'x'"):
        proxies.add_toxic("db", ToxicSpec("goodbye", attributes={"code": "x"}))


# half_open


def test_established_connections_are_dead_until_they_are_given_up(behind: Backend) -> None:
    client, server = behind.pair()
    exchange(client, server, b"ping", b"pong")
    behind.proxies.toxic("backend", "half_open")
    client.sendall(b"again")
    server.sendall(b"push")
    server.shutdown(socket.SHUT_WR)
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    other, far = behind.pair()
    exchange(other, far, b"ping", b"pong")
    behind.proxies.remove_toxic("backend", "half_open_downstream")
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.close()
    assert outcomes(behind.proxies, 1) == ["lost"]
    assert behind.proxies.began[0].offset == 4


def test_a_second_one_of_the_same_name_is_for_the_new_connections(behind: Backend) -> None:
    for _ in range(2):
        client, server = behind.pair()
        client.sendall(b"ping")
        assert read_exactly(server, 4) == b"ping"
        behind.proxies.toxic("backend", "half_open")
        behind.proxies.remove_toxic("backend", "half_open_downstream")
    assert [each.connection for each in behind.proxies.began] == [1, 2]


def test_a_reset_of_everything_resets_what_is_left(behind: Backend) -> None:
    client, _ = behind.pair()
    behind.proxies.toxic("backend", "half_open")
    behind.proxies.remove_toxic("backend", "half_open_downstream")
    behind.proxies.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_user_timeout_of_the_client_ends_it(behind: Backend) -> None:
    client, server = behind.pair()
    exchange(client, server, b"ping", b"pong")
    behind.proxies.toxic("backend", "half_open", user_timeout=50)
    client.sendall(b"again")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert outcomes(behind.proxies, 1) == ["reset"]


def test_a_client_with_a_time_out_survives_and_one_without_hangs(proxies: Proxies) -> None:
    robust = cache(proxies, retries=1)
    robust.set("a", "3")
    proxies.toxic("cache", "half_open")
    assert robust.get("a") == b"3"
    robust.close()
    hangs = socket.create_connection(proxies.get("cache").address, 0.2)
    hangs.sendall(b"PING\r\n")
    assert hangs.recv(7) == b"+PONG\r\n"
    proxies.remove_toxic("cache", "half_open_downstream")
    proxies.toxic("cache", "half_open")
    hangs.sendall(b"PING\r\n")
    with pytest.raises(TimeoutError):
        hangs.recv(1)
    hangs.close()
