"""Every fault of Redis between a real Valkey and redis-py, beside the server's own errors."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis
import redis.asyncio

from seism.model import ProxySpec, ToxicSpec
from seism.protocols.redis import Redis
from seism.protocols.redis_faults import RedisError
from tests.processes import until
from tests.protocols.outcome import check, seen
from tests.proxy.harness import Proxies
from tests.servers import Valkey

CLIENTS = [
    (library, protocol) for library in ("redis-py", "redis-py asyncio") for protocol in (2, 3)
]
WRITES = ("redis_readonly", "redis_oom")
OPERATIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(WRITES, ("SET", "k", "changed")),
    "redis_wrongpass": ("AUTH", "wrong"),
}
"""What is asked; elsewhere it is GET."""
FAULTS = sorted({fault.type for fault in Redis.faults} - {"redis_max_clients"})


class Client:
    """One connection of redis-py, sync or not."""

    def __init__(self, library: str, port: int, protocol: int) -> None:
        options: dict[str, Any] = {"port": port, "protocol": protocol, "socket_timeout": 10}
        options |= {"max_connections": 1, "retry": None}
        self._runner = asyncio.Runner() if library.endswith("asyncio") else None
        made = redis.asyncio.Redis if self._runner else redis.Redis
        self._redis: Any = made(**options)

    def ask(self, *command: str) -> tuple[BaseException | None, Any]:
        """The error, or the value."""
        try:
            result = self._redis.execute_command(*command)
            return None, self._runner.run(result) if self._runner else result
        except redis.RedisError as error:
            return error, None

    def value(self, *command: str) -> Any:
        error, value = self.ask(*command)
        assert error is None
        return value

    def close(self) -> None:
        if self._runner is None:
            self._redis.close()
        else:
            self._runner.run(self._redis.aclose())
            self._runner.close()


@contextmanager
def client(library: str, port: int, protocol: int) -> Iterator[Client]:
    made = Client(library, port, protocol)
    try:
        yield made
    finally:
        made.close()


@dataclass
class Behind:
    """A Valkey behind a proxy that knows its protocol."""

    proxies: Proxies
    port: int

    def fault(self, type: str, exchange: dict[str, Any] | None = None, **attributes: Any) -> None:
        spec = ToxicSpec(type, "f", attributes=attributes, exchange=exchange or {})
        self.proxies.add_toxic("redis", spec)

    def heal(self) -> None:
        self.proxies.remove_toxic("redis", "f")


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture
def behind(valkey: Valkey) -> Iterator[Behind]:
    with Proxies() as proxies:
        spec = ProxySpec("redis", f"127.0.0.1:{valkey.port}", protocol="redis")
        with redis.Redis(port=valkey.port) as direct:
            direct.flushall()
            direct.set("k", "v")
        yield Behind(proxies, proxies.create(spec).address[1])


# The server's own errors


@contextmanager
def configured(*settings: tuple[str, str], options: tuple[str, ...] = ()) -> Iterator[int]:
    """A Valkey with a key, then with these settings."""
    with Valkey(*options) as server, redis.Redis(port=server.port) as admin:
        if not options:
            admin.set("k", "v")
        for name, value in settings:
            admin.execute_command(*name.split(), value)
        yield server.port


@contextmanager
def running_a_script() -> Iterator[int]:
    with configured(("CONFIG SET busy-reply-threshold", "1")) as port:
        # The script ends when it is killed, however long that takes on a busy machine.
        patient = redis.Redis(port=port, socket_timeout=None, retry=None)
        with redis.Redis(port=port) as admin, patient as stuck:

            def loop() -> None:
                with pytest.raises(redis.ResponseError):
                    stuck.eval("while true do end", 0)

            thread = threading.Thread(target=loop)
            thread.start()
            try:
                until(lambda: _refuses(port, "BUSY"))
                yield port
            finally:
                admin.script_kill()
                thread.join(20)


def _refuses(port: int, code: str) -> bool:
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"GET k\r\n")
        return sock.recv(100).startswith(f"-{code}".encode())


@contextmanager
def loading() -> Iterator[int]:
    """A server that loads 10,000 keys, each takes 5 ms; it looks at its clients after each."""
    with Valkey("--rdbcompression", "no") as server, redis.Redis(port=server.port) as admin:
        admin.mset({f"k{number}": "v" * 1024 for number in range(10_000)})
        admin.save()
        slow = ("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
        with Valkey(*slow, "--dir", server.folder, "--dbfilename", "dump.rdb") as second:
            yield second.port


REPLICA = ("REPLICAOF 127.0.0.1", "1")
REAL: dict[str, Callable[[], Any]] = {
    "redis_readonly": lambda: configured(REPLICA),
    "redis_masterdown": lambda: configured(("CONFIG SET replica-serve-stale-data", "no"), REPLICA),
    "redis_oom": lambda: configured(("CONFIG SET maxmemory", "1")),
    "redis_busy": running_a_script,
    "redis_loading": loading,
    "redis_clusterdown": lambda: configured(options=("--cluster-enabled", "yes")),
    "redis_wrongpass": lambda: configured(("CONFIG SET requirepass", "right")),
    "redis_noauth": lambda: configured(("CONFIG SET requirepass", "right")),
    "redis_nil": lambda: configured(("DEL", "k")),
}
"""A server that is in the very state; not MOVED, for which it takes a cluster."""


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """The fault's type, and the port of a server that really is in that state; 0: there is none."""
    fault: str = request.param
    if fault not in REAL:
        yield fault, 0
        return
    with REAL[fault]() as port:
        yield fault, port


@pytest.mark.parametrize("real", FAULTS, indirect=True)
@pytest.mark.parametrize(("library", "protocol"), CLIENTS)
def test_a_client_raises_what_the_real_error_makes_it_raise(
    real: tuple[str, int], library: str, protocol: int, behind: Behind
) -> None:
    fault, port = real
    command = OPERATIONS.get(fault, ("GET", "k"))
    genuine = ""
    if port:
        with client(library, port, protocol) as direct:
            genuine = seen(*direct.ask(*command))
    with client(library, behind.port, protocol) as victim:
        before = victim.value("CLIENT", "ID")
        behind.fault(fault)
        error, value = victim.ask(*command)
        behind.heal()
        (began,), (ended,) = behind.proxies.began, behind.proxies.ended(1)
        assert (began.exchange.kind, ended.outcome) == (command[0], "changed")
        assert victim.value("GET", "k") == b"v"
        same = victim.value("CLIENT", "ID") == before
    with client(library, behind.port, protocol) as another:
        assert another.value("GET", "k") == b"v"
    raised = seen(error, value)
    if genuine:
        assert raised == genuine
    check(
        "redis", fault, f"{library}, RESP{protocol}", raises=raised, real=genuine,
        after="the same connection works" if same else "it makes a new connection",
    )  # fmt: skip


@pytest.mark.parametrize("real", [fault for fault in FAULTS if fault in REAL], indirect=True)
def test_the_words_are_the_servers(real: tuple[str, int], behind: Behind) -> None:
    """Code and text, as far as these don't name the product."""
    fault, port = real
    command = " ".join(OPERATIONS.get(fault, ("GET", "k"))).encode() + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(command)
        genuine = sock.recv(1000)
    behind.fault(fault)
    with socket.create_connection(("127.0.0.1", behind.port), 10) as sock:
        sock.sendall(command)
        injected = sock.recv(1000)
    assert injected.split()[0] == genuine.split()[0]
    if fault != "redis_clusterdown":  # several texts have this code
        assert injected == genuine.replace(b"Valkey", b"Redis")


@pytest.mark.parametrize("type", sorted({*FAULTS} - {"redis_wrongpass"}))
@pytest.mark.parametrize("protocol", [2, 3])
def test_in_a_pipeline_it_takes_its_place(type: str, protocol: int, behind: Behind) -> None:
    command = OPERATIONS.get(type, ("GET", "k"))
    with redis.Redis(port=behind.port, protocol=protocol, retry=None) as found:
        pipe = found.pipeline(transaction=False)
        pipe.execute_command("STRLEN", "k").execute_command(*command).execute_command("ECHO", "x")
        behind.fault(type, {"kind": command[0]})
        if type in ("redis_loading", "redis_noauth"):
            # To redis-py these are about the connection, not about the command.
            with pytest.raises(redis.ConnectionError):
                pipe.execute(raise_on_error=False)
        else:
            first, second, third = pipe.execute(raise_on_error=False)
            assert (first, third) == (1, b"x")
            assert second is None if type == "redis_nil" else isinstance(second, redis.RedisError)
        assert len(behind.proxies.began) == 1
        behind.heal()
        assert found.get("k") == b"v"


@pytest.mark.parametrize(("library", "protocol"), CLIENTS)
def test_a_full_server_refuses_new_clients_and_serves_the_old(
    library: str, protocol: int, behind: Behind
) -> None:
    # Whoever sets it takes the only place.
    with configured(("CONFIG SET maxclients", "1")) as port:
        with client(library, port, protocol) as direct:
            genuine = seen(*direct.ask("GET", "k"))
    with client(library, behind.port, protocol) as old:
        assert old.value("GET", "k") == b"v"
        behind.fault("redis_max_clients")
        assert old.value("GET", "k") == b"v"
        with client(library, behind.port, protocol) as new:
            raised = seen(*new.ask("GET", "k"))
            behind.heal()
            assert new.value("GET", "k") == b"v"
    assert raised == genuine
    check(
        "redis",
        "redis_max_clients",
        f"{library}, RESP{protocol}",
        raises=raised,
        real=genuine,
        after="it makes a new connection",
    )


ERRORS = [fault.type for fault in Redis.faults if issubclass(fault, RedisError)]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("type", sorted({*ERRORS} - {"redis_wrongpass"}))
def test_a_transaction_is_discarded_as_the_server_would(
    type: str, protocol: int, behind: Behind
) -> None:
    with redis.Redis(port=behind.port, protocol=protocol, retry=None) as found:
        pipe = found.pipeline(transaction=True)
        behind.fault(type, {"phase": "queued", "key": "second"})
        results = pipe.set("first", "1").set("second", "2").set("third", "3")
        with pytest.raises(redis.RedisError):
            results.execute()
        behind.heal()
        assert found.mget("first", "second", "third") == [None, None, None]
        assert found.pipeline(transaction=True).set("first", "1").execute() == [True]


def test_a_transaction_fails_at_exec(behind: Behind) -> None:
    with redis.Redis(port=behind.port, retry=None) as found:
        behind.fault("redis_busy", {"phase": "exec"})
        with pytest.raises(redis.exceptions.ExecAbortError, match="discarded because of: BUSY"):
            found.pipeline(transaction=True).set("first", "1").execute()
        behind.heal()
        assert found.get("first") is None
        assert found.pipeline(transaction=True).set("first", "1").execute() == [True]


def test_a_real_transaction_fails_the_same_way() -> None:
    """Queued commands that the server itself refuses, beside those that a fault refuses."""
    with configured(REPLICA) as port, redis.Redis(port=port, retry=None) as found:
        with pytest.raises(redis.RedisError) as genuine:
            found.pipeline(transaction=True).set("first", "1").execute()
    with Valkey() as server, Proxies() as proxies:
        spec = ProxySpec("redis", f"127.0.0.1:{server.port}", protocol="redis")
        port = proxies.create(spec).address[1]
        proxies.add_toxic("redis", ToxicSpec("redis_readonly"))
        with redis.Redis(port=port, retry=None) as found:
            with pytest.raises(redis.RedisError) as injected:
                found.pipeline(transaction=True).set("first", "1").execute()
    assert type(injected.value) is type(genuine.value)
    assert str(injected.value) == str(genuine.value)


@pytest.mark.parametrize("protocol", [2, 3])
def test_subscriptions_and_monitor_are_left_alone(protocol: int, behind: Behind) -> None:
    behind.fault("redis_busy")
    with redis.Redis(port=behind.port, protocol=protocol, retry=None) as found:
        told = found.pubsub(ignore_subscribe_messages=True)
        told.subscribe("news")
        with redis.Redis(port=behind.port, protocol=protocol) as another, another.monitor() as spy:
            behind.heal()
            until(lambda: another.execute_command("PUBLISH", "news", "hi"))
            behind.fault("redis_busy")
            until(lambda: "PUBLISH" in str(spy.next_command()["command"]))
        until(lambda: told.get_message(timeout=0.02) == MESSAGE)
        told.close()
    assert behind.proxies.began == []


MESSAGE = {"type": "message", "pattern": None, "channel": b"news", "data": b"hi"}


def test_pushed_messages_are_left_alone(behind: Behind) -> None:
    """Invalidations of client-side caching come between replies; a fault waits for none."""
    with socket.create_connection(("127.0.0.1", behind.port), 10) as sock:
        stream = sock.makefile("rb")
        sock.sendall(b"HELLO 3\r\nCLIENT TRACKING ON\r\nGET k\r\n")
        while stream.readline() != b"v\r\n":
            pass
        behind.fault("redis_busy", {"kind": "GET"})
        sock.sendall(b"SET k new\r\nGET k\r\n")
        read = [stream.readline() for _ in range(8)]
    pushed = [b">2\r\n", b"$10\r\n", b"invalidate\r\n", b"*1\r\n", b"$1\r\n", b"k\r\n"]
    (busy,) = (line for line in read if line.startswith(b"-BUSY "))
    assert read.index(b"+OK\r\n") < read.index(busy)
    begins = read.index(pushed[0])
    assert read[begins : begins + 6] == pushed


def test_the_commands_that_write_are_those_of_the_server(valkey: Valkey) -> None:
    from seism.protocols.redis_faults import WRITES as known

    with redis.Redis(port=valkey.port) as found:
        told = found.execute_command("COMMAND")
    write = {name.upper() for name, each in told.items() if "write" in each["flags"]}
    assert write - known == set()
