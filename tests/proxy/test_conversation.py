"""Faults on live connections, byte by byte: a client and a server that the test speaks for."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from seism.errors import ConfigurationError
from seism.model import ProxySpec, ToxicSpec
from seism.proxy.conversation import EXCHANGE_COST, UNANSWERED_LIMIT
from seism.proxy.pump import SMALL
from tests.proxy.harness import PATIENCE, Backend, Proxies, eventually, read_all, read_exactly
from tests.timing import within

PING, PONG = b"PING\r\n", b"+PONG\r\n"
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"


def command(*words: str) -> bytes:
    parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    return f"*{len(words)}\r\n{parts}".encode()


GET = command("GET", "k")


class Speaking(Backend):
    """A backend whose proxy knows that it speaks Redis."""

    def __init__(self, proxies: Proxies) -> None:
        super().__init__(proxies, "unused")
        self.name = "redis"
        self.proxy = proxies.create(ProxySpec("redis", self.address, protocol="redis"))

    def arm(
        self, type: str = "redis_loading", exchange: dict[str, Any] | None = None,
        name: str = "f", toxicity: float = 1.0, **attributes: Any,
    ) -> None:  # fmt: skip
        exchange = {"kind": "GET"} if exchange is None else exchange
        spec = ToxicSpec(type, name, toxicity=toxicity, attributes=attributes, exchange=exchange)
        self.proxies.add_toxic("redis", spec)

    def disarm(self, name: str = "f") -> None:
        self.proxies.remove_toxic("redis", name)

    def outcomes(self, count: int) -> list[str]:
        return [ended.outcome for ended in self.proxies.ended(count)]


@pytest.fixture
def behind() -> Iterator[Speaking]:
    with Proxies() as proxies:
        backend = Speaking(proxies)
        try:
            yield backend
        finally:
            backend.close()


def relayed(sender: socket.socket, receiver: socket.socket, data: bytes) -> None:
    """``data`` arrives as it is."""
    sender.sendall(data)
    assert read_exactly(receiver, len(data)) == data


def test_an_answer_waits_for_the_replies_before_it(behind: Speaking) -> None:
    client, server = behind.pair()
    behind.arm()
    client.sendall(PING + GET + PING)
    assert read_exactly(server, 2 * len(PING)) == PING + PING
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(20)
    server.sendall(PONG)
    assert read_exactly(client, len(PONG + LOADING)) == PONG + LOADING
    relayed(server, client, PONG)
    (began,), (ended,) = behind.proxies.began, behind.proxies.ended(1)
    assert (began.stream, began.offset, ended.offset) == ("upstream", len(PING), len(PING + GET))
    assert (began.exchange.number, began.exchange.kind, ended.outcome) == (2, "GET", "changed")
    assert (ended.request_size, ended.reply_size, ended.replied) == (len(GET), len(LOADING), None)


def test_an_exchange_that_has_begun_is_left_alone(behind: Speaking) -> None:
    client, server = behind.pair()
    for cut in range(1, len(GET)):
        relayed(client, server, GET[:cut])
        behind.arm()
        relayed(client, server, GET[cut:])
        client.sendall(GET)
        relayed(server, client, b"$1\r\nv\r\n")
        assert read_exactly(client, len(LOADING)) == LOADING
        behind.disarm()
    assert behind.outcomes(len(GET) - 1) == ["changed"] * (len(GET) - 1)


def test_armed_and_disarmed_in_the_middle_of_a_reply(behind: Speaking) -> None:
    client, server = behind.pair()
    reply = b"*2\r\n$1\r\na\r\n$2\r\nbb\r\n"
    for cut in range(1, len(reply)):
        relayed(client, server, GET)
        relayed(server, client, reply[:cut])
        behind.arm(exchange={"kind": "PING"})
        client.sendall(PING)
        relayed(server, client, reply[cut:])
        assert read_exactly(client, len(LOADING)) == LOADING
        behind.disarm()


def test_what_is_held_goes_on_when_the_fault_goes(behind: Speaking) -> None:
    client, server = behind.pair()
    behind.arm()
    client.sendall(PING + GET[:7])
    assert read_exactly(server, len(PING)) == PING
    behind.disarm()
    assert read_exactly(server, 7) == GET[:7]
    relayed(client, server, GET[7:])
    relayed(server, client, PONG + b"$-1\r\n")
    assert behind.proxies.began == []


def test_what_the_codec_does_not_understand_passes(behind: Speaking) -> None:
    for armed in (False, True):
        client, server = behind.pair()
        if armed:
            behind.arm()
        relayed(client, server, PING)
        relayed(client, server, b"*1\r\n+what\r\n" + GET)
        relayed(server, client, b"garbage" * 1000)
        relayed(client, server, GET)
        live = list(behind.proxy.snapshots())[-1]
        assert live.opaque == "protocol error: an argument that is no bulk string"
        assert live.protocol == "redis"
    assert dict(behind.proxy.opaque) == {"protocol error": 2}
    assert behind.proxies.began == []


def test_a_connection_that_becomes_a_monitor_is_left_alone(behind: Speaking) -> None:
    client, server = behind.pair()
    behind.arm()
    relayed(client, server, command("MONITOR"))
    relayed(server, client, b"+OK\r\n")
    relayed(client, server, GET)
    assert [live.opaque for live in behind.proxy.snapshots()] == ["MONITOR"]


@pytest.mark.parametrize("late", ["reply", "request"])
def test_late(behind: Speaking, late: str) -> None:
    client, server = behind.pair()
    behind.arm("exchange_delay", delay=300, late=late)
    client.sendall(GET + PING)
    if late == "reply":
        assert read_exactly(server, len(GET + PING)) == GET + PING
        server.sendall(b"$1\r\nv\r\n" + PONG)
    else:
        assert read_exactly(server, len(GET + PING)) == GET + PING
        server.sendall(b"$1\r\nv\r\n" + PONG)
    assert read_exactly(client, 14) == b"$1\r\nv\r\n" + PONG
    (ended,) = behind.proxies.ended(1)
    assert ended.outcome == "passed"
    if late == "reply":
        assert within(ended.at - ended.replied, 0.3)
    else:
        assert within(ended.replied - behind.proxies.began[0].at, 0.3)


@pytest.mark.parametrize("late", ["reply", "request"])
def test_removing_it_lets_what_is_late_go_on_at_once(behind: Speaking, late: str) -> None:
    client, server = behind.pair()
    behind.arm("exchange_delay", delay=60_000, late=late)
    client.sendall(GET + PING)
    if late == "reply":
        assert read_exactly(server, len(GET + PING)) == GET + PING
        server.sendall(b"$1\r\nv\r\n" + PONG)
    eventually(lambda: behind.proxies.began)
    behind.disarm()
    if late == "request":
        assert read_exactly(server, len(GET + PING)) == GET + PING
        server.sendall(b"$1\r\nv\r\n" + PONG)
    assert read_exactly(client, 14) == b"$1\r\nv\r\n" + PONG
    assert behind.outcomes(1) == ["removed"]


def test_the_end_of_the_server_waits_for_a_late_reply(behind: Speaking) -> None:
    client, server = behind.pair()
    behind.arm("exchange_delay", delay=200)
    client.sendall(GET)
    assert read_exactly(server, len(GET)) == GET
    server.sendall(b"$1\r\nv\r\n")
    server.close()
    assert read_all(client) == b"$1\r\nv\r\n"
    assert behind.outcomes(1) == ["passed"]


@pytest.mark.parametrize("when", ["request", "served"])
def test_a_hanging_exchange(behind: Speaking, when: str) -> None:
    client, server = behind.pair()
    behind.arm("exchange_hang", when=when)
    client.sendall(PING + GET + PING)
    wanted = PING if when == "request" else PING + GET
    assert read_exactly(server, len(wanted)) == wanted
    server.sendall(PONG + (b"$1\r\nv\r\n" if when == "served" else b""))
    assert read_exactly(client, len(PONG)) == PONG
    eventually(lambda: behind.proxies.began)
    behind.disarm()
    assert read_all(client) == read_all(server) == b""
    assert behind.outcomes(1) == ["closed"]


def test_a_client_that_gives_up_on_a_hanging_exchange(behind: Speaking) -> None:
    client, server = behind.pair()
    behind.arm("exchange_hang")
    client.sendall(GET)
    eventually(lambda: behind.proxies.began)
    client.close()
    assert read_all(server) == b""
    server.close()
    assert behind.outcomes(1) == ["lost"]


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("when", ["request", "reply", "served"])
def test_an_exchange_in_which_the_connection_ends(behind: Speaking, end: str, when: str) -> None:
    client, server = behind.pair()
    behind.arm(f"exchange_{end}", when=when, **({"bytes": 5} if when == "reply" else {}))
    client.sendall(PING + GET)
    wanted = PING if when == "request" else PING + GET
    assert read_exactly(server, len(wanted)) == wanted
    server.sendall(PONG)
    # Before its turn, nothing has ended.
    assert read_exactly(client, len(PONG)) == PONG
    if when != "request":
        server.sendall(b"$1\r\nv\r\n")
    if when == "reply":
        assert read_exactly(client, 5) == b"$1\r\nv"
    if end == "close":
        assert read_all(client) == b""
    else:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert behind.outcomes(1) == [{"close": "closed", "reset": "reset"}[end]]


def test_toxics_on_bytes_act_on_what_a_fault_says(behind: Speaking) -> None:
    client, server = behind.pair()
    behind.arm()
    behind.proxies.toxic("redis", "latency", latency=200)
    client.sendall(GET)
    assert read_exactly(client, len(LOADING)) == LOADING
    fault, delay = behind.proxies.began
    ends = {ended.perturbation: ended.at for ended in behind.proxies.ended(2)}
    assert within(ends[delay.perturbation] - ends[fault.perturbation], 0.2)
    behind.proxies.remove_toxic("redis", "latency_downstream")
    relayed(client, server, PING)
    relayed(server, client, PONG)


def test_a_large_request_is_swallowed_without_being_held(behind: Speaking) -> None:
    client, server = behind.pair()
    behind.arm("redis_oom", {"kind": "SET"})
    size = 20_000_000
    client.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % size)
    for _ in range(size // 1_000_000):
        client.sendall(b"v" * 1_000_000)
    client.sendall(b"\r\n" + PING)
    assert read_exactly(server, len(PING)) == PING
    oom = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
    assert read_exactly(client, len(oom)) == oom
    relayed(server, client, PONG)


def test_late_replies_stop_the_reading(behind: Speaking) -> None:
    client, server = behind.pair()
    behind.arm("exchange_delay", delay=60_000)
    client.sendall(GET)
    assert read_exactly(server, len(GET)) == GET
    size = 64_000_000
    server.sendall(b"$%d\r\n" % size)
    server.settimeout(0.3)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < size:
            sent += server.send(b"v" * 100_000)
    assert sent < 32_000_000
    behind.disarm()
    server.settimeout(20)
    rest = size - sent
    while rest:
        got = len(read_exactly(client, 1_000_000))
        rest -= server.send(b"v" * min(rest, got, 1_000_000))


@pytest.mark.parametrize("armed", [False, True])
def test_unanswered_exchanges_stop_the_reading(behind: Speaking, armed: bool) -> None:
    client, server = behind.pair()
    if armed:
        behind.arm()
    count = 100_000
    at_once = UNANSWERED_LIMIT // EXCHANGE_COST + SMALL // len(PING)
    sending = threading.Thread(target=client.sendall, args=(PING * count,))
    sending.start()
    received = answered = 0
    deadline = time.monotonic() + 6 * PATIENCE
    while answered < count:
        assert time.monotonic() < deadline
        server.settimeout(20)
        received += len(server.recv(1 << 20))
        server.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while True:
                received += len(server.recv(1 << 20))
        unanswered = received // len(PING) - answered
        assert unanswered <= at_once
        server.settimeout(20)
        server.sendall(PONG * unanswered)
        assert read_exactly(client, len(PONG) * unanswered) == PONG * unanswered
        answered += unanswered
    sending.join()


def test_which_exchange(behind: Speaking) -> None:
    client, server = behind.pair()

    def answers(exchange: dict[str, Any], *keys: str, toxicity: float = 1.0) -> str:
        """One letter for each GET of a key: x for the fault's answer."""
        behind.arm(exchange=exchange, toxicity=toxicity)
        seen = ""
        for key in keys:
            client.sendall(command("GET", key) + PING)
            data = read_exactly(server, len(PING))
            if data != PING:
                read_exactly(server, len(command("GET", key)))
                server.sendall(b"$-1\r\n")
            server.sendall(PONG)
            expected = LOADING if data == PING else b"$-1\r\n"
            assert read_exactly(client, len(expected + PONG)) == expected + PONG
            seen += "x" if data == PING else "."
        behind.disarm()
        return seen

    assert answers({"key": "user:*"}, "user:1", "other", "user:2") == "x.x"
    assert answers({"kind": "g?t", "nth": 2}, "a", "a", "a") == ".x."
    assert answers({"key": "a", "every": 2}, *"abaaba") == "..x..x"
    assert answers({"kind": "GET", "every": 2}, *"aaaaa") == ".x.x."
    assert answers({"kind": "GET", "first": 2}, *"aaaa") == "xx.."
    assert answers({"kind": "GET", "resp": "3"}, *"aa") == ".."
    assert answers({"kind": "GET", "phase": "queued"}, *"aa") == ".."
    chanced = answers({"kind": "GET"}, *"a" * 40, toxicity=0.5)
    drawn = [each.chance for each in behind.proxies.began if each.chance is not None]
    assert 5 < chanced.count("x") < 35
    assert len(drawn) == chanced.count("x")
    assert all(chance < 0.5 for chance in drawn)


def test_the_first_fault_that_affects_an_exchange_has_it(behind: Speaking) -> None:
    client, _ = behind.pair()
    behind.arm(exchange={"kind": "GET", "nth": 2}, name="second")
    behind.arm("redis_busy", {"kind": "GET"}, name="all")
    for letter in ("B", "L", "B"):
        client.sendall(GET)
        assert client.recv(1000)[1:2] == letter.encode()
    assert [began.toxic for began in behind.proxies.began] == ["all", "second", "all"]


@pytest.mark.parametrize("kind", ["PING", "NEVER"])
def test_nothing_is_lost_or_doubled_however_it_is_cut(behind: Speaking, kind: str) -> None:
    """A fault comes and goes at any byte; replies keep their order, bytes their place."""
    chance = random.Random(kind)
    client, server = behind.pair()
    replied = 0
    for _ in range(40):
        requests = [
            chance.choice([GET, command("SET", "k", "v" * chance.randint(0, 300)), PING])
            for _ in range(chance.randint(1, 6))
        ]
        data = b"".join(requests)
        armed = False
        while data:
            if chance.random() < 0.3:
                if armed:
                    behind.disarm()
                else:
                    behind.arm(exchange={"kind": kind})
                armed = not armed
            size = chance.randint(1, 60)
            client.sendall(data[:size])
            data = data[size:]
        if armed:
            behind.disarm()
        marker = command("ECHO", "end")
        client.sendall(marker)
        got = b""
        while not got.endswith(marker):
            got += server.recv(65536)
        arrived = list(_split(got[: -len(marker)]))
        replies = b"".join(b":%d\r\n" % (replied + n) for n in range(len(arrived))) + b"+end\r\n"
        for at in range(0, len(replies), 7):
            server.sendall(replies[at : at + 7])
        answer = b""
        while not answer.endswith(b"+end\r\n"):
            answer += client.recv(65536)
        lines = answer.split(b"\r\n")[:-2]
        assert len(lines) == len(requests)
        kept = iter(arrived)
        for request, line in zip(requests, lines, strict=True):
            if line.startswith(b"-LOADING"):
                assert request == PING and kind == "PING"
            else:
                assert line == b":%d" % replied
                assert next(kept) == request
                replied += 1
        assert next(kept, None) is None


def _split(data: bytes) -> Iterator[bytes]:
    """Commands, as the tests here make them."""
    while data:
        if data.startswith(PING):
            size = len(PING)
        else:
            size = data.find(b"\r\n*", 1) + 2
            ping = data.find(b"\r\nPING\r\n") + 2
            size = min((end for end in (size, ping) if end > 1), default=len(data))
        yield data[:size]
        data = data[size:]


def test_a_fault_needs_the_protocol(behind: Speaking) -> None:
    def refused(spec: ToxicSpec, proxy: str = "redis") -> str:
        with pytest.raises(ConfigurationError) as caught:
            behind.proxies.add_toxic(proxy, spec)
        return str(caught.value)

    assert "needs a proxy that knows its protocol (protocol = 'redis')" in refused(
        ToxicSpec("redis_busy"), "unused"
    )
    assert "latency acts on bytes" in refused(ToxicSpec("latency", exchange={"kind": "GET"}))
    assert "unknown key 'kex'; did you mean 'key'?; redis has every, first, key, kind" in refused(
        ToxicSpec("redis_busy", exchange={"kex": "x"})
    )
    assert "exchange.phase: expected one of command, queued, exec for redis_busy, got 'auth'" in (
        refused(ToxicSpec("redis_busy", exchange={"phase": "auth"}))
    )
    assert "exchange.key: expected a string, got 5" in refused(
        ToxicSpec("redis_busy", exchange={"key": 5})
    )
    assert "exchange.nth: -1 is not allowed" in refused(
        ToxicSpec("redis_busy", exchange={"nth": -1})
    )
    with pytest.raises(ConfigurationError, match="protocol: 'reddis' is not allowed, one of"):
        behind.proxies.update("unused", protocol="reddis")


def test_a_protocol_counts_for_new_connections(behind: Speaking) -> None:
    old = behind.pair()
    behind.proxies.update("redis", protocol="")
    between = behind.pair()
    behind.proxies.update("redis", protocol="redis")
    behind.arm()
    client, server = between
    relayed(client, server, GET)
    for client, _ in (old, behind.pair()):
        client.sendall(GET)
        assert read_exactly(client, len(LOADING)) == LOADING
    with pytest.raises(ConfigurationError, match="toxic f acts on exchanges of redis"):
        behind.proxies.update("redis", protocol="")


def test_only_the_first_connections(behind: Speaking) -> None:
    spec = ToxicSpec("redis_loading", "f", connections=1)
    behind.proxies.add_toxic("redis", spec)
    first, second = behind.pair(), behind.pair()
    first[0].sendall(GET)
    assert read_exactly(first[0], len(LOADING)) == LOADING
    relayed(*second, GET)


@pytest.mark.parametrize("end", [b"MONITOR\r\n", b"*1\r\n+what\r\n"])
def test_what_is_late_is_not_lost_when_the_codec_gives_up(behind: Speaking, end: bytes) -> None:
    client, server = behind.pair()
    behind.arm("exchange_delay", delay=60_000)
    relayed(client, server, GET)
    server.sendall(b"$1\r\nv\r\n")
    eventually(lambda: behind.proxies.began)
    relayed(client, server, end)
    assert read_exactly(client, 7) == b"$1\r\nv\r\n"
    assert behind.outcomes(1) == ["removed"]
    relayed(server, client, b"whatever it is")


def test_nothing_follows_the_end_of_a_connection(behind: Speaking) -> None:
    """Not even the next reply, which has come with the one that was lost, to a slow client."""
    client, server = behind.pair()
    behind.arm("exchange_close", when="served")
    behind.proxies.toxic("redis", "latency", latency=100)
    client.sendall(PING + GET + PING)
    assert read_exactly(server, len(PING + GET + PING)) == PING + GET + PING
    server.sendall(PONG + b"$1\r\nv\r\n" + PONG)
    assert read_all(client) == PONG


def test_an_observer_looks_before_a_client_sees_anything(behind: Speaking) -> None:
    holds = behind.proxies.hold(PATIENCE)
    client, server = behind.pair()
    behind.proxies.thread.call(holds.ask, "worker", ["{}:{}".format(*client.getsockname())])
    for fault in ("redis_loading", "exchange_close"):
        behind.arm(fault, name=fault)
        client.sendall(GET + PING)
        eventually(
            lambda name=fault: behind.proxies.began[-1:] and behind.proxies.began[-1].type == name
        )
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(PATIENCE)
        began = behind.proxies.began[-1]
        assert began.hold == PATIENCE
        behind.proxies.thread.call(holds.looked, "worker", began.perturbation)
        if fault == "exchange_close":
            assert read_all(client) == b""
            continue
        assert read_exactly(server, len(PING)) == PING
        assert read_exactly(client, len(LOADING)) == LOADING
        relayed(server, client, PONG)
        behind.disarm(fault)
    assert all(ended.held > 0 for ended in behind.proxies.ended(2))
