"""Toxics for some clients only: by address, by TLS name, by first bytes, the first so many."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError
from seism.model import Match, ProxySpec, ToxicSpec
from seism.options import build
from seism.proxy.match import PREFIX, Matcher, server_name
from tests.proxy.harness import Backend, backend, eventually, exchange, read_exactly


@pytest.fixture
def behind() -> Iterator[Backend]:
    with backend() as found:
        yield found


def client_hello(name: str | None) -> bytes:
    """What a real TLS client begins with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = name is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


HELLO = client_hello("db.example.com")


def in_records(hello: bytes, size: int) -> bytes:
    """The same message in several TLS records."""
    body = hello[5:]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(hello[:3] + len(part).to_bytes(2, "big") + part for part in parts)


def test_the_name_in_a_real_client_hello() -> None:
    assert server_name(HELLO) == "db.example.com"
    assert server_name(HELLO + b"more") == "db.example.com"
    assert server_name(client_hello(None)) == ""
    assert server_name(b"") is None
    assert server_name(b"GET / HTTP/1.1\r\n") == ""


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_client_hello_in_several_records(size: int) -> None:
    whole = in_records(HELLO, size)
    assert server_name(whole) == "db.example.com"
    assert server_name(whole[:-1]) is None


@given(st.integers(0, len(HELLO) - 1))
def test_a_client_hello_that_is_cut_needs_more(size: int) -> None:
    assert server_name(HELLO[:size]) is None


@given(st.binary(max_size=400), st.integers(0, len(HELLO)), st.integers(0, 255))
def test_garbage_has_no_name_and_raises_nothing(data: bytes, at: int, value: int) -> None:
    server_name(data)
    server_name(b"\x16\x03\x01" + data)
    server_name(HELLO[:at] + bytes([value]) + HELLO[at + 1 :])


@pytest.mark.parametrize(
    ("client", "host", "matches"),
    [
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8", "127.0.0.1"), "127.0.0.1", True),
        (("10.0.0.0/8",), "127.0.0.1", False),
        (("127.0.0.0/8",), "::ffff:127.0.0.1", True),
        (("::1",), "::1", True),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("10.0.0.0/8",), "", False),
        ((), "", True),
    ],
)
def test_addresses(client: tuple[str, ...], host: str, matches: bool) -> None:
    assert Matcher(Match(client=client)).address(host) == matches


@pytest.mark.parametrize(
    ("pattern", "data", "matches"),
    [
        ("GET /admin", b"GET /admin/x HTTP/1.1", True),
        ("GET /admin", b"GET /", None),
        ("GET /admin", b"GET /public", False),
        ("* /admin", b"POST /admin", True),
        ("* /admin", b"POST /public", None),
        ("* /admin", b"x" * PREFIX, False),
        ("\x00\xff[ab]", b"\x00\xffb", True),
        ("\x00\xff[ab]", b"\x00\xffc" + b"x" * PREFIX, False),
    ],
)
def test_first_bytes(pattern: str, data: bytes, matches: bool | None) -> None:
    assert Matcher(Match(first_bytes=pattern)).first(data) is matches


def test_names_are_matched_with_wildcards() -> None:
    assert Matcher(Match(server_name="*.example.com")).first(HELLO) is True
    assert Matcher(Match(server_name="*.example.org")).first(HELLO) is False
    assert Matcher(Match(server_name="db.example.com")).first(HELLO[:9]) is None
    assert Matcher(Match(server_name="db.example.com")).first(b"plain") is False


def test_no_pattern_takes_long() -> None:
    pattern = ("*a" * 128)[:255] + "b"
    matcher = Matcher(Match(first_bytes=pattern))
    assert matcher.first(b"a" * PREFIX) is False


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"client": ["10.0.0.0/33"]}, "client: '10.0.0.0/33' is neither an IP address nor"),
        ({"client": "10.0.0.0"}, "must be a list"),
        ({"first_bytes": "€"}, "first_bytes: each character must be one byte"),
        ({"server_name": "x" * 257}, "server_name: 257 characters are too many"),
    ],
)
def test_conditions_that_cannot_be(values: object, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(Match, values, "match")
    assert message in str(caught.value)


def dropped(client: socket.socket, server: socket.socket, data: bytes) -> bool:
    """Whether ``data`` does not arrive, with something after it that does."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    got = b""
    while more := server.recv(65536):
        got += more
    assert got in (b"", data)
    return not got


def timeout(behind: Backend, **match: object) -> None:
    spec = ToxicSpec("timeout", stream="upstream", match=build(Match, match, "match"))
    behind.proxies.add_toxic("backend", spec)


@pytest.mark.parametrize(("network", "hit"), [("127.0.0.0/8", True), ("10.0.0.0/8", False)])
def test_only_clients_of_a_network(behind: Backend, network: str, hit: bool) -> None:
    timeout(behind, client=[network])
    client, server = behind.pair()
    (connection,) = behind.proxy._connections
    assert connection.up.names() == (["timeout_upstream"] if hit else [])
    assert dropped(client, server, b"hello") == hit


@pytest.mark.parametrize(("name", "hit"), [("db.example.com", True), ("cache.example.com", False)])
def test_only_clients_that_ask_for_a_name(behind: Backend, name: str, hit: bool) -> None:
    timeout(behind, server_name="db.*")
    assert dropped(*behind.pair(), client_hello(name)) == hit


def test_only_clients_that_begin_so_and_the_others_get_back_to_the_fast_path(
    behind: Backend,
) -> None:
    timeout(behind, first_bytes="SELECT * FROM slow")
    pairs = [behind.pair() for _ in range(2)]
    exchange(*pairs[1], b"SELECT 1", b"reply")
    assert dropped(*pairs[0], b"SELECT a FROM slow")
    # Undecided still, as * stands for anything; it is when so many bytes have come.
    exchange(*pairs[1], bytes(PREFIX), b"reply")
    connections = sorted(behind.proxy._connections, key=lambda each: each.number)
    assert not connections[-1].up.watched
    assert connections[-1].up.names() == []


def test_first_bytes_that_come_one_by_one(behind: Backend) -> None:
    timeout(behind, first_bytes="abc")
    client, server = behind.pair()
    for byte in (b"a", b"b"):
        client.sendall(byte)
        assert read_exactly(server, 1) == byte
    client.sendall(b"c")
    eventually(lambda: behind.proxies.began)
    assert behind.proxies.began[0].offset == 2


def test_a_toxic_on_replies_is_decided_by_the_request(behind: Backend) -> None:
    spec = ToxicSpec("latency", match=Match(first_bytes="GET"), attributes={"latency": 20})
    behind.proxies.add_toxic("backend", spec)
    exchange(*behind.pair(), b"GET", b"reply")
    exchange(*behind.pair(), b"PUT", b"reply")
    assert [each.connection for each in behind.proxies.began] == [1]


def test_a_later_toxic_uses_the_bytes_that_an_earlier_one_asked_for(behind: Backend) -> None:
    timeout(behind, first_bytes="PUT")
    pair, unseen = behind.pair(), None
    exchange(*pair, b"GET", b"reply")
    behind.proxies.remove_toxic("backend", "timeout_upstream")
    unseen = behind.pair()
    exchange(*unseen, b"GET", b"reply")
    timeout(behind, first_bytes="GET")
    assert dropped(*pair, b"more")
    assert not dropped(*unseen, b"more")


def test_what_acts_before_any_byte_cannot_wait_for_one(behind: Backend) -> None:
    with pytest.raises(ConfigurationError, match="refuse acts before a client has sent anything"):
        behind.proxies.add_toxic("backend", ToxicSpec("refuse", match=Match(first_bytes="x")))
    spec = ToxicSpec("refuse", match=Match(client=("127.0.0.1",)))
    behind.proxies.add_toxic("backend", spec)
    with pytest.raises(ConnectionResetError):
        behind.connect().recv(1)


def test_the_first_so_many_fail_and_then_it_recovers(behind: Backend) -> None:
    behind.proxies.add_toxic("backend", ToxicSpec("refuse", connections=3))
    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            behind.connect().recv(1)
    exchange(*behind.pair(), b"ping", b"pong")
    behind.proxies.update_toxic("backend", "refuse_downstream", connections=4)
    with pytest.raises(ConnectionResetError):
        behind.connect().recv(1)
    exchange(*behind.pair(), b"ping", b"pong")


def test_the_first_so_many_of_those_that_are_there_are_the_oldest(behind: Backend) -> None:
    pairs = [behind.pair() for _ in range(5)]
    spec = ToxicSpec("timeout", stream="upstream", connections=2)
    behind.proxies.add_toxic("backend", spec)
    assert [dropped(*pair, b"x") for pair in pairs] == [True, True, False, False, False]


def test_draws_are_told_and_can_be_drawn_again() -> None:
    def run() -> list[object]:
        with backend(seed=5) as behind:
            for name in ("a", "b"):
                spec = ToxicSpec(
                    "latency", name, toxicity=0.9, attributes={"latency": 5, "jitter": 4}
                )
                behind.proxies.add_toxic("backend", spec)
            exchange(*behind.pair(), b"ping", b"pong")
            ended = behind.proxies.ended(len(behind.proxies.began))
            assert all(each.draws == 1 == len(each.drawn) for each in ended)
            assert all(each.chance < 0.9 for each in behind.proxies.began)
            return sorted(
                [(each.connection, each.toxic, each.chance) for each in behind.proxies.began]
            ) + sorted(each.drawn for each in ended)

    assert run() == run()


def test_a_proxy_keeps_its_conditions_with_its_toxics(behind: Backend) -> None:
    spec = ToxicSpec("noop", match=Match(first_bytes="x"), connections=2)
    made = behind.proxies.create(ProxySpec("other", behind.address), [spec])
    (installed,) = made.toxics
    assert (installed.spec.match, installed.spec.connections) == (spec.match, 2)
    changed = behind.proxies.update_toxic("other", "noop_downstream", match=Match())
    assert changed.spec.match == Match()
