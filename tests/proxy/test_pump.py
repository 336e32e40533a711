"""Both pumps, whichever the links use: pure Python, and compiled where that was built."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from seism.proxy.pump import PURE_VARIABLE, PurePump
from tests.proxy.harness import reset

COMPILED = importlib.util.find_spec("seism.proxy._pump") is not None
Pair = tuple[socket.socket, socket.socket]


def _bases() -> Iterator[type[PurePump]]:
    yield PurePump
    if COMPILED:
        yield importlib.import_module("seism.proxy._pump").Pump


@pytest.fixture(params=_bases(), ids=lambda base: base.__module__)
def wired(request: pytest.FixtureRequest) -> Iterator[tuple[Any, socket.socket, socket.socket]]:
    """A pump from one connection to another, with the far ends of both."""

    class Recorder(request.param):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.said: list[tuple[str, Any]] = []
            self.raising: Exception | None = None

        def _say(self, what: str, value: Any = None) -> None:
            self.said.append((what, value))
            if self.raising is not None:
                error, self.raising = self.raising, None
                raise error

        def _read_end(self) -> None:
            self._say("end")

        def _receiver_gone(self) -> None:
            self._say("gone")

        def _keep(self, data: bytes) -> None:
            self._say("keep", data)

        def _failed(self, error: Exception) -> None:
            self.said.append(("failed", error))

    (client, source), (server, sink) = connected(), connected()
    for sock in (source, sink):
        sock.setblocking(False)
    pump = Recorder()
    pump.other = Recorder()
    pump.wire(source, sink)
    yield pump, client, server
    for sock in (client, source, server, sink):
        sock.close()


def connected() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    far.settimeout(20)
    return far, near


def test_bytes_pass_and_are_counted(wired: Any) -> None:
    pump, client, server = wired
    for number in range(3):
        client.sendall(b"hello")
        pump.answered = number == 1
        pump.relay_up()
        assert server.recv(100) == b"hello"
    assert (pump.received, pump.since, pump.answered) == (15, 5, False)
    assert pump.said == []


def test_a_reply_answers_the_other_direction(wired: Any) -> None:
    pump, client, server = wired
    client.sendall(b"reply")
    pump.relay_down()
    assert server.recv(100) == b"reply"
    assert (pump.received, pump.other.answered) == (5, True)


@pytest.mark.parametrize("relay", ["relay_up", "relay_down"])
def test_the_end_is_told(wired: Any, relay: str) -> None:
    pump, client, _ = wired
    client.shutdown(socket.SHUT_WR)
    getattr(pump, relay)()
    assert pump.said == [("end", None)]


@pytest.mark.parametrize("relay", ["relay_up", "relay_down"])
def test_what_is_not_taken_is_kept_in_order(wired: Any, relay: str) -> None:
    pump, client, server = wired
    sent = kept = b""
    while not kept:
        data = bytes(len(sent) % 251 for _ in range(100_000))
        sent += data
        client.sendall(data)
        while pump.received < len(sent) and not kept:
            getattr(pump, relay)()
            kept = b"".join(value for what, value in pump.said if what == "keep")
    taken = b""
    while len(taken) < pump.received - len(kept):
        taken += server.recv(1 << 20)
    assert taken + kept == sent[: pump.received]


@pytest.mark.parametrize("relay", ["relay_up", "relay_down"])
def test_a_receiver_that_reset_is_gone(wired: Any, relay: str) -> None:
    pump, client, server = wired
    reset(server)
    client.sendall(b"too late")
    getattr(pump, relay)()
    assert pump.said == [("gone", None)]


@pytest.mark.parametrize("relay", ["relay_up", "relay_down"])
def test_a_sender_that_reset_is_a_failure(wired: Any, relay: str) -> None:
    pump, client, _ = wired
    reset(client)
    getattr(pump, relay)()
    [(what, error)] = pump.said
    assert (what, type(error)) == ("failed", ConnectionResetError)


@pytest.mark.parametrize("relay", ["relay_up", "relay_down"])
def test_nothing_to_read_says_so_by_its_type(wired: Any, relay: str) -> None:
    pump, _, _ = wired
    getattr(pump, relay)()
    [(what, error)] = pump.said
    assert (what, type(error)) == ("failed", BlockingIOError)


@pytest.mark.parametrize("relay", ["relay_up", "relay_down"])
def test_no_exception_gets_out(wired: Any, relay: str) -> None:
    pump, client, _ = wired
    pump.raising = problem = RuntimeError("in a hook")
    client.shutdown(socket.SHUT_WR)
    getattr(pump, relay)()
    assert pump.said[-1] == ("failed", problem)


@pytest.mark.parametrize(("value", "pure"), [("1", True), ("0", not COMPILED), ("", not COMPILED)])
def test_the_environment_can_ask_for_pure_python(value: str, pure: bool) -> None:
    code = "from seism.proxy.pump import Pump, PurePump; print(Pump is PurePump)"
    said = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, PURE_VARIABLE: value},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == str(pure)
