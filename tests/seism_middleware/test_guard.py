"""A fault of ours, inside of every patch, in every state of a socket, changes nothing."""

from __future__ import annotations

import asyncio
import asyncio.selector_events
import logging
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from seism_middleware import guard, propagation
from seism_middleware.drivers.span import Spans, track_of
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.tcp import written
from seism_middleware.traffic import Request, current

CALLS = (
    "adopt", "backend_of", "claim", "closed", "connection", "correct", "failed", "named",
    "opened", "reborn", "refused",
)  # fmt: skip
"""What patches ask the ledger."""

Outcome = tuple[str, str]


def outcome(function: Callable[[], Any]) -> Outcome:
    """What it returned or raised, without what differs from run to run."""
    try:
        result = function()
    except TypeError:
        return "TypeError", ""  # a Python function has words of its own for a missing argument
    except BaseException as error:
        return type(error).__name__, str(error)
    return "returned", repr(result) if isinstance(result, int | bytes | None) else ""


class Faulty(Ledger):
    """A ledger whose method ``wrong`` raises; "table": each look at the table does."""

    def __init__(self, wrong: str) -> None:
        self.hit = 0
        super().__init__()
        if wrong == "table":
            self.table = _FaultyTable(self)
        elif wrong:
            setattr(self, wrong, self._raise)

    def backend_of(self, address: Any) -> str | None:
        """Every connection counts as one to a proxy."""
        return "db"

    def _raise(self, *args: Any) -> Any:
        self.hit += 1
        raise RuntimeError("our own fault")


class _FaultyTable(dict[int, Any]):
    def __init__(self, ledger: Faulty) -> None:
        self._ledger = ledger

    def get(self, *args: Any) -> Any:
        self._ledger._raise()

    def __contains__(self, key: object) -> bool:
        self._ledger._raise()
        return False


@contextmanager
def faulty(wrong: str) -> Iterator[Faulty]:
    """Patched, with the fault, and inside of a request."""
    ledger = Faulty(wrong)
    patches = Patches(ledger)
    patches.install()
    token = current.set(Request("r1", "GET", 0.0))
    try:
        yield ledger
    finally:
        current.reset(token)
        patches.uninstall()


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), 10)
        server, _ = listener.accept()
        with client, server:
            yield client, server


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _detach(sock: socket.socket) -> None:
    socket.socket(fileno=sock.detach()).close()


STATES: dict[str, Callable[[socket.socket, socket.socket], object]] = {
    "open": lambda client, server: None,
    "half-closed": lambda client, server: client.shutdown(socket.SHUT_WR),
    "peer half-closed": lambda client, server: server.shutdown(socket.SHUT_WR),
    "reset": lambda client, server: (_reset(server), outcome(lambda: client.recv(1))),
    "closed": lambda client, server: client.close(),
    "detached": lambda client, server: _detach(client),
}
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "send": lambda sock: sock.send(b"x"),
    "send, flags": lambda sock: sock.send(b"x", socket.MSG_NOSIGNAL),
    "send, no bytes": lambda sock: sock.send("x"),
    "send, nothing": lambda sock: sock.send(),
    "sendall": lambda sock: sock.sendall(bytearray(b"xyz")),
    "sendmsg": lambda sock: sock.sendmsg([b"x", b"yz"]),
    "sendmsg, iterator": lambda sock: sock.sendmsg(iter([b"x"])),
    "sendmsg, None": lambda sock: sock.sendmsg(None),
    "connect": lambda sock: sock.connect(("127.0.0.1", 1)),
    "connect, no address": lambda sock: sock.connect(None),
    "connect_ex": lambda sock: sock.connect_ex(("127.0.0.1", 1)),
    "close": lambda sock: sock.close(),
    "detach": lambda sock: _closed(sock.detach()),
    "init": lambda sock: socket.socket(fileno=sock.fileno()).detach() and None,
}


def _closed(fd: int) -> bool:
    if fd >= 0:
        socket.socket(fileno=fd).close()
    return fd >= 0


def on_sockets() -> dict[str, Outcome]:
    found = {}
    for state, bring in STATES.items():
        for name, operation in OPERATIONS.items():
            with pair() as (client, server):
                bring(client, server)
                found[f"{name} when {state}"] = outcome(lambda: operation(client))  # noqa: B023
    with socket.socket() as sock:
        for name in ("send", "sendall", "sendmsg", "connect", "connect_ex"):
            found[f"{name} when unconnected"] = outcome(lambda: OPERATIONS[name](sock))  # noqa: B023
    return found


@pytest.mark.parametrize("wrong", ["", "table", *CALLS])
def test_sockets(wrong: str) -> None:
    usual = on_sockets()
    with faulty(wrong) as ledger:
        assert on_sockets() == usual
    if wrong not in ("", "named", "correct", "reborn"):
        assert ledger.hit


class Losing(asyncio.Protocol):
    """Tells when its connection is lost."""

    def __init__(self, lost: asyncio.Future[None]) -> None:
        self._lost = lost

    def connection_lost(self, error: Exception | None) -> None:
        self._lost.set_result(None)


def on_transports() -> dict[str, Outcome]:
    return asyncio.run(_on_transports())


async def _on_transports() -> dict[str, Outcome]:
    writes: dict[str, Callable[[Any], Any]] = {
        "write": lambda transport: transport.write(b"x"),
        "write, no bytes": lambda transport: transport.write("x"),
        "writelines": lambda transport: transport.writelines(iter([b"x", b"y"])),
        "writelines, None": lambda transport: transport.writelines(None),
    }
    found = {}
    for state in ("open", "eof", "closing", "aborted", "reset", "lost"):
        for name, operation in writes.items():
            with pair() as (client, server):
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                lost = loop.create_future()
                protocol = Losing(lost)
                transport, _ = await loop.create_connection(lambda: protocol, sock=client)  # noqa: B023
                if state == "eof":
                    transport.write_eof()
                elif state == "closing":
                    transport.close()
                elif state == "aborted":
                    transport.abort()
                elif state == "reset":
                    _reset(server)
                elif state == "lost":
                    _reset(server)
                    await lost  # its socket is None from now on
                found[f"{name} when {state}"] = outcome(lambda: operation(transport))  # noqa: B023
                transport.abort()
                if not lost.done():
                    await lost
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", 1))
        except OSError as error:
            found["sock_connect"] = (type(error).__name__, str(error))
    return found


@pytest.mark.parametrize("wrong", ["", "table", *CALLS])
def test_transports(wrong: str) -> None:
    usual = on_transports()
    with faulty(wrong):
        assert on_transports() == usual


def anonymous(side: int) -> ssl.SSLContext:
    """TLS that needs no certificate."""
    context = ssl.SSLContext(side)
    if side == ssl.PROTOCOL_TLS_CLIENT:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


def on_tls() -> list[Outcome]:
    found = []
    context, trusting = map(anonymous, (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    for operation in (
        lambda sock: sock.send(b"x"),
        lambda sock: sock.sendall(b"xy"),
        lambda sock: sock.send("x"),
        lambda sock: (sock.close(), sock.send(b"x")),
        lambda sock: sock.unwrap() and None,
    ):
        with pair() as (client, server), ExitStack() as stack:

            def serve(server: socket.socket = server) -> None:
                with context.wrap_socket(server, server_side=True) as wrapped:
                    outcome(lambda: wrapped.recv(10))

            thread = threading.Thread(target=serve)
            thread.start()
            stack.callback(thread.join)
            stack.enter_context(server)
            with trusting.wrap_socket(client) as secured:
                found.append(outcome(lambda: operation(secured)))  # noqa: B023
    return found


@pytest.mark.parametrize("wrong", ["", "table", "adopt", "claim"])
def test_tls(wrong: str) -> None:
    usual = on_tls()
    assert ("returned", "1") in usual
    with faulty(wrong):
        assert on_tls() == usual


def on_threads() -> list[Outcome]:
    done: list[int] = []
    thread = threading.Thread(target=done.append, args=(1,))
    found = [outcome(thread.start), outcome(thread.join), outcome(thread.start)]
    with ThreadPoolExecutor(1) as pool:
        found.append(outcome(lambda: pool.submit(pow, 2, 3).result()))
    waiting: queue.Queue[int] = queue.Queue()
    found.append(outcome(lambda: waiting.get(False)))
    logger = logging.getLogger("tests.guard")
    found.append(outcome(lambda: logger.error("%s", "x")))
    return [*found, ("done", repr(done))]


@pytest.mark.parametrize("wrong", ["running", "_unseen", "_restore"])
def test_threads(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = on_threads()

    def fail(*args: Any) -> Any:
        raise RuntimeError("our own fault")

    with faulty("named"):
        monkeypatch.setattr(propagation, wrong, fail)
        assert on_threads() == usual
        monkeypatch.undo()


PARTS = (
    "_begin", "_claim", "_close", "_descriptor", "_end", "_exclude", "_known", "_unowned",
)  # fmt: skip
"""What the calls of a driver come down to."""


class Driver:
    """An object of a driver written in C, and its two kinds of calls."""

    def __init__(self, spans: Spans, fd: int) -> None:
        self._spans = spans
        self._fd = fd

    def call(self, blind: bool, function: Callable[[], Any]) -> Any:
        if blind:
            return self._spans.call_blind(track_of(self), function, connects=True)
        return self._spans.call(track_of(self), lambda: self._fd, function)


@pytest.mark.parametrize("wrong", PARTS)
@pytest.mark.parametrize("blind", [False, True])
def test_drivers(wrong: str, blind: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("our own fault")

    def broken() -> None:
        raise ConnectionError("the driver's")

    with faulty("") as ledger, pair() as (client, _):
        spans = Spans(ledger)
        driver = Driver(spans, client.fileno())
        with monkeypatch.context() as patch:
            patch.setattr(Spans, wrong, guard.shielded(fail) if wrong == "_descriptor" else fail)
            for _ in range(2):
                assert driver.call(blind, lambda: client.send(b"x")) == 1
                with pytest.raises(ConnectionError, match="the driver's"):
                    driver.call(blind, broken)
        assert driver.call(blind, lambda: client.send(b"x")) == 1


def test_an_object_without_room_for_a_track() -> None:
    with faulty("") as ledger:
        spans = Spans(ledger)
        assert spans.call(track_of(object()), lambda: None, lambda: 1) == 1
        assert spans.call_blind(track_of(object()), lambda: 2) == 2


def test_a_fault_is_told_once_for_each_place(caplog: pytest.LogCaptureFixture) -> None:
    guard._told.clear()

    @guard.shielded
    def wrong(text: str) -> None:
        raise RuntimeError(text)

    for number in range(3):
        assert wrong(str(number)) is None
    (record,) = caplog.records
    assert "a patch failed" in record.message and record.exc_info


def test_what_the_original_raises_is_not_touched() -> None:
    """Neither the exception nor its cause is ours, even where both fail."""
    with faulty("failed"), pair() as (client, _):
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(BrokenPipeError) as caught:
            client.send(b"x")
    assert caught.value.__context__ is None and caught.value.__cause__ is None


def test_bytes_are_still_counted() -> None:
    with faulty("") as ledger, pair() as (client, _):
        client.sendall(b"abc")
        connection = ledger.table[client.fileno()]
        assert connection is not None and connection.sent == written(client) == 3
