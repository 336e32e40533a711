"""Every fault of memcached between a real server and real clients: what a program sees."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pylibmc
import pytest
from pymemcache.client.base import Client

from tests.protocols.behind import Behind, behind, outcome
from tests.protocols.outcome import check
from tests.protocols.sessions import memcached as sessions

pytestmark = pytest.mark.debian("memcached")

Calls = dict[str, Callable[[], object]]
FAULTS = {
    "memcached_oom": ("set", "incr"),
    "memcached_miss": ("get", "get many"),
    "memcached_not_stored": ("set", "add"),
    "memcached_error": ("get", "set", "delete"),
}
"""Fault -> the calls that it is tried with."""


@contextmanager
def with_pymemcache(port: int) -> Iterator[Calls]:
    with contextlib.closing(
        Client(("127.0.0.1", port), timeout=10, default_noreply=False)
    ) as client:
        yield {
            "set": lambda: client.set("k", "v"),
            "add": lambda: client.add("new", "v"),
            "get": lambda: client.get("k"),
            "get many": lambda: client.get_many(["k", "k2"]),
            "incr": lambda: client.incr("n", 1),
            "delete": lambda: client.delete("k2"),
        }


@contextmanager
def with_pylibmc(port: int, binary: bool = False) -> Iterator[Calls]:
    client = pylibmc.Client([f"127.0.0.1:{port}"], binary=binary)
    try:
        yield {
            "set": lambda: client.set("k", "v"),
            "add": lambda: client.add("new", "v"),
            "get": lambda: client.get("k"),
            "get many": lambda: client.get_multi(["k", "k2"]),
            "incr": lambda: client.incr("n"),
            "delete": lambda: client.delete("k2"),
        }
    finally:
        client.disconnect_all()


CLIENTS: dict[str, Callable[[int], Any]] = {
    "pymemcache": with_pymemcache,
    "pylibmc": with_pylibmc,
    "pylibmc, binary": lambda port: with_pylibmc(port, binary=True),
}


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with sessions.server() as port:
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[Behind]:
    with behind("memcached", server) as made:
        yield made


@pytest.fixture(autouse=True)
def items(server: int) -> None:
    """What is there when a test begins."""
    with contextlib.closing(Client(("127.0.0.1", server), timeout=10)) as client:
        client.flush_all(noreply=False)
        client.set_many({"k": "v", "k2": "v2", "n": "1"}, noreply=False)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("fault", "call"), [(fault, call) for fault, calls in FAULTS.items() for call in calls]
)
def test_what_a_client_makes_of_it(
    server: int, proxy: Behind, fault: str, call: str, client: str
) -> None:
    with CLIENTS[client](proxy.port) as calls:
        assert calls["get many"]()
        proxy.fault(fault)
        raises = outcome(calls[call])
        assert proxy.proxies.began
        proxy.heal()
        # libmemcached gives a server up after what it takes for a failure of its own.
        after = []
        then = outcome(lambda: after.append(proxy.after(calls["set"])))
    with CLIENTS[client](proxy.port) as calls:
        assert calls["get"]() in ("v", b"v")
    check(
        "memcached",
        f"{fault}: {call}",
        client,
        raises=raises,
        after=after[0] if after else f"{then}, for a while; a new connection works",
        real=real(server, fault, call, client),
    )


def real(server: int, fault: str, call: str, client: str) -> str:
    """What the server itself can be brought to say."""
    if fault == "memcached_miss":
        with contextlib.closing(Client(("127.0.0.1", server), timeout=10)) as direct:
            direct.flush_all(noreply=False)
    elif (fault, call) != ("memcached_not_stored", "add"):
        return ""
    with CLIENTS[client](server) as calls:
        if call == "add":
            calls["add"]()
        return outcome(calls[call])


def _raw(port: int, request: bytes, end: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request)
        answer = b""
        while not answer.endswith(end):
            data = connection.recv(65536)
            assert data, answer
            answer += data
    return answer


META = {
    "memcached_oom": b"SERVER_ERROR out of memory storing object\r\n",
    "memcached_not_stored": b"NS kk O7\r\n",
    "memcached_error": b"ERROR\r\n",
}


@pytest.mark.parametrize("fault", META)
def test_a_meta_command_is_answered_in_kind(proxy: Behind, fault: str) -> None:
    proxy.fault(fault, {"command": "ms"})
    answer = _raw(proxy.port, b"ms k 3 k O7\r\nnew\r\nmg k v\r\nmn\r\n", b"MN\r\n")
    assert answer == META[fault] + b"VA 1\r\nv\r\nMN\r\n"


def test_a_miss_of_meta_gets_is_what_the_server_says_of_one(server: int, proxy: Behind) -> None:
    asked = b"mg k v\r\nmg k v q\r\nmg k2 v q k O9\r\nmn\r\n"
    missed = _raw(server, asked.replace(b"mg k", b"mg gone"), b"MN\r\n")
    proxy.fault("memcached_miss")
    assert _raw(proxy.port, asked, b"MN\r\n") == missed == b"EN\r\nMN\r\n"


@pytest.mark.parametrize("binary", [False, True])
def test_the_servers_own_refusal_is_seen_alike(server: int, proxy: Behind, binary: bool) -> None:
    """``append`` to what is not there is NOT_STORED, without our help."""
    seen = []
    for port in (server, proxy.port):
        if port == proxy.port:
            proxy.fault("memcached_not_stored")
        client = pylibmc.Client([f"127.0.0.1:{port}"], binary=binary)
        seen.append(outcome(lambda: client.append("gone" if port == server else "k", "x")))  # noqa: B023
        client.disconnect_all()
    assert seen[0] == seen[1]


def test_only_the_key_that_is_asked_for_is_missed(proxy: Behind) -> None:
    proxy.fault("memcached_miss", {"key": "k2"})
    with with_pymemcache(proxy.port) as calls:
        assert calls["get"]() == b"v"
    (client,) = [Client(("127.0.0.1", proxy.port), timeout=10)]
    assert client.get("k2") is None
    client.close()


def test_values_of_any_size_are_refused_whole(proxy: Behind) -> None:
    proxy.fault("memcached_oom", {"first": 1})
    asked = b"set k 0 0 500000\r\n" + b"x" * 500_000 + b"\r\nget k\r\n"
    assert _raw(proxy.port, asked, b"END\r\n") == (
        b"SERVER_ERROR out of memory storing object\r\nVALUE k 0 1\r\nv\r\nEND\r\n"
    )
