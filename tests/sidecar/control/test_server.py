from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from seism.errors import ConfigurationError, Unavailable
from seism.sidecar.control.router import Router
from seism.sidecar.control.server import ControlServer
from tests.proxy.harness import PATIENCE, GeventThread, read_all, read_exactly
from tests.sidecar.control.harness import Control, control


def echo(sock: Any, initial: bytes) -> None:
    sock.sendall(b"<" + initial)
    while data := sock.recv(100):
        sock.sendall(data)


def fail(sock: Any, initial: bytes) -> None:
    raise RuntimeError("broken stream")


@pytest.fixture
def api() -> Iterator[Control]:
    with control(upgrades={"/stream": echo, "/fail": fail}, token="secret") as found:
        yield found


GRANTED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: seism/1\r\n\r\n"


def ask(
    api: Control,
    path: str = "/stream",
    method: str = "GET",
    host: str = "localhost",
    token: str = "secret",
    upgrade: str = "seism/1",
    extra: str = "",
    initial: bytes = b"",
) -> socket.socket:
    raw = socket.create_connection(api.server.address, PATIENCE)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {token}",
             "Connection: Upgrade", f"Upgrade: {upgrade}"]  # fmt: skip
    raw.sendall(("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode() + initial)
    return raw


@pytest.mark.parametrize("initial", [b"", b"first line\n"])
def test_an_upgrade_hands_the_connection_over(api: Control, initial: bytes) -> None:
    with ask(api, initial=initial) as raw:
        assert read_exactly(raw, len(GRANTED)) == GRANTED
        raw.sendall(b"more")
        raw.shutdown(socket.SHUT_WR)
        assert read_all(raw) == b"<" + initial + b"more"


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"token": "wrong"}, 401),
        ({"host": "evil.example"}, 403),
        ({"extra": "Origin: http://evil.example\r\n"}, 403),
        ({"path": "/other"}, 404),
        ({"method": "POST", "extra": "Content-Length: 0\r\n"}, 404),
        ({"upgrade": "websocket"}, 404),
    ],
)
def test_an_upgrade_that_is_refused(api: Control, how: dict[str, str], status: int) -> None:
    with ask(api, **how) as raw:  # type: ignore[arg-type]
        assert read_exactly(raw, 12) == f"HTTP/1.1 {status}".encode()


def test_a_stream_that_fails_is_closed_and_logged(
    api: Control, caplog: pytest.LogCaptureFixture
) -> None:
    with ask(api, "/fail") as raw:
        assert read_all(raw) == GRANTED
    assert "broken stream" in caplog.text


def test_requests_are_guarded_too(api: Control) -> None:
    assert api("GET", "/version").status == 401
    assert api("GET", "/version").headers["WWW-Authenticate"] == "Bearer"
    bearer = {"Authorization": "Bearer secret"}
    assert api("GET", "/version", headers=bearer).status == 200
    # A browser cannot send the token for another site's page: the token is proof enough.
    browser = {"User-Agent": "Mozilla/5.0"}
    assert api("GET", "/version", headers={**bearer, **browser}).status == 200
    assert api("GET", "/version", headers=browser).status == 401
    foreign = {**bearer, **browser, "Origin": "http://evil.example"}
    assert api("GET", "/version", headers=foreign).status == 403


def test_nothing_is_written_to_standard_error(
    api: Control, capfd: pytest.CaptureFixture[str]
) -> None:
    api("GET", "/version")
    with socket.create_connection(api.server.address, PATIENCE) as raw:
        raw.sendall(b"garbage\r\n\r\n")
        assert b" 400 " in read_all(raw)
    assert capfd.readouterr() == ("", "")


def test_close_ends_streams_too() -> None:
    with control(upgrades={"/stream": echo}) as api:
        raw = ask(api)
        assert read_exactly(raw, len(GRANTED)) == GRANTED
    with raw:
        assert read_all(raw) == b"<"


def test_an_address_in_use_is_one_clear_line() -> None:
    with GeventThread() as thread, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable) as caught:
            thread.call(ControlServer, "127.0.0.1", port, Router([]))
        assert str(caught.value) == (
            f"the control API cannot listen on 127.0.0.1:{port}: address already in use"
        )


def test_more_than_loopback_needs_a_token() -> None:
    with pytest.raises(ConfigurationError, match="only with a token"):
        ControlServer("0.0.0.0", 0, Router([]))
