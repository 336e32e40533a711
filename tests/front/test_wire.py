"""What goes through, and what is observed of it: a real Node server, clients on sockets."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import psutil
import pytest

from seism_middleware.contract import RequestEnded
from tests.front.conftest import PATIENCE, Front, front
from tests.ports import free_port
from tests.processes import until
from tests.protocols.test_http import NOT_HTTP
from tests.proxy.harness import read_all, read_exactly, reset


@pytest.fixture(autouse=True)
def anew(wire: Front) -> None:
    wire.skip()


def brief(ended: RequestEnded) -> tuple[str, str, int | None, str]:
    return ended.method, ended.route, ended.status, ended.body


def read_until(sock: socket.socket, tail: bytes) -> None:
    got = b""
    while not got.endswith(tail):
        more = sock.recv(4096)
        assert more, got
        got += more


def test_one_connection_is_kept_for_many_requests(wire: Front) -> None:
    with wire.client() as client:
        for path in ("/users/17", "/busy", "/users/18?secret=1"):
            client.request("GET", path)
            client.getresponse().read()
        client.request("HEAD", "/users/19")
        assert client.getresponse().read() == b""
    first, busy, second, head = wire.ended(4)
    assert brief(first) == brief(second) == ("GET", "/users/{id}", 200, "complete")
    assert brief(busy) == ("GET", "/busy", 503, "complete") and busy.retry_after
    assert brief(head) == ("HEAD", "/users/{id}", 200, "complete") and not head.retry_after
    assert "secret" not in wire.journal.read_text()
    begun = {record.request: record.at for record in wire.begun()}
    assert all(begun[ended.request] == ended.began for ended in (first, busy, second, head))


def test_both_ways_stream(wire: Front) -> None:
    """Each part arrives before the next one is sent; nothing waits for an end."""
    with wire.connect() as client:
        client.sendall(b"POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b"one", b"two", b"three"):
            client.sendall(b"%x\r\n%b\r\n" % (len(part), part))
            read_until(client, b"%x\r\n%b\r\n" % (len(part), part))
            assert wire.begun()[-1].route == "/stream"
        wire.ended(0)
        client.sendall(b"0\r\n\r\n")
        read_until(client, b"0\r\nX-Sum: all\r\n\r\n")
    assert brief(wire.ended()[0]) == ("POST", "/stream", 200, "complete")


def test_an_upload_and_a_download_take_bounded_memory(wire: Front) -> None:
    size = 64 * 1024 * 1024
    before = psutil.Process(wire.pid).memory_info().rss
    with wire.client() as client:
        client.request("PUT", "/upload", body=(b"x" * 65536 for _ in range(size // 65536)),
                       headers={"Content-Length": str(size)})  # fmt: skip
        assert client.getresponse().read() == str(size).encode()
        client.request("GET", "/large")
        assert len(client.getresponse().read()) == 32 * 1024 * 1024
    assert [brief(each) for each in wire.ended(2)] == [
        ("PUT", "/upload", 200, "complete"), ("GET", "/large", 200, "complete")
    ]  # fmt: skip
    assert psutil.Process(wire.pid).memory_info().rss - before < 16 * 1024 * 1024


def test_interim_responses_are_not_the_response(wire: Front) -> None:
    with wire.connect() as client:
        client.sendall(b"GET /early HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        said = read_all(client)
    assert said.startswith(b"HTTP/1.1 103 ") and b"HTTP/1.1 200 OK" in said
    with wire.connect() as client:
        client.sendall(
            b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        read_until(client, b"HTTP/1.1 100 Continue\r\n\r\n")
        client.sendall(b"abc")
        assert b"HTTP/1.1 200 OK" in read_all(client)
    assert [each.status for each in wire.ended(2)] == [200, 200]


def test_an_upgrade_is_tunnelled(wire: Front) -> None:
    with wire.connect() as client:
        client.sendall(
            b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: twice\r\n\r\n"
        )
        read_until(client, b"\r\n\r\n")
        assert brief(wire.ended()[0]) == ("GET", "/socket", 101, "complete")
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")  # bytes of the tunnel, and no request
        assert read_exactly(client, 36) == 2 * b"GET / HTTP/1.1\r\n\r\n"
    wire.ended(0)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [("/old", 200, "complete"), ("/short", 200, "truncated"), ("/none", None, "none"),
     ("/reset", None, "none")],
)  # fmt: skip
def test_how_the_app_ends_it(wire: Front, path: str, status: int | None, body: str) -> None:
    with wire.connect() as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        try:
            said = read_all(client)
        except ConnectionResetError:
            said = b"reset"
    assert brief(wire.ended()[0]) == ("GET", path, status, body)
    assert b"502" not in said and (said == b"" if path == "/none" else True)
    assert (said == b"reset") == (path == "/reset")


@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_a_client_that_leaves(wire: Front, leave: object) -> None:
    client = wire.connect()
    client.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: wire.begun()[-1].route == "/hang")
    wire.ended(0)
    leave(client)  # type: ignore[operator]
    assert brief(wire.ended()[0]) == ("GET", "/hang", None, "none")


def test_pipelined_requests(wire: Front) -> None:
    with wire.connect() as client:
        client.sendall(
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /busy HTTP/1.1\r\nHost: a\r\n\r\n"
            b"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        assert read_all(client).count(b"HTTP/1.1 ") == 3
    assert [each.status for each in wire.ended(3)] == [200, 503, 200]


def test_what_is_not_http_goes_through_unobserved(wire: Front) -> None:
    with wire.connect() as client:
        client.sendall(b"this is\0no http\r\n\r\n")
        assert b"400 Bad Request" in read_all(client)
    wire.ended(0)


@pytest.mark.parametrize("name", NOT_HTTP)
def test_whatever_is_not_http_reaches_what_listens_there(tmp_path: Path, name: str) -> None:
    """Its sender waits for an answer, so nothing of it may be held."""
    data = NOT_HTTP[name]
    with socket.create_server(("127.0.0.1", 0)) as app:
        app.settimeout(PATIENCE)
        url = f"http://127.0.0.1:{app.getsockname()[1]}"
        with front(tmp_path, url) as there, there.connect() as client:
            client.sendall(data)
            served, _ = app.accept()
            with served:
                served.settimeout(PATIENCE)
                got = b""
                while not traceless(got).endswith(data):
                    got += served.recv(4096)
                served.sendall(b"\0what it says")
                assert read_exactly(client, 13) == b"\0what it says"
        assert "is passed on" in (tmp_path / "front.log").read_text()


def traceless(data: bytes) -> bytes:
    """Without the header that the front adds to what began as HTTP."""
    return re.sub(rb"traceparent: [-0-9a-f]+\r\n", b"", data)


def test_the_trace_is_added_or_passed_on(wire: Front) -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with wire.client() as client:
        seen = []
        for headers in ({}, {}, {"traceparent": given}):
            client.request("GET", "/trace", headers=headers)
            raw = json.loads(client.getresponse().read())
            seen.append([v for k, v in zip(raw[::2], raw[1::2], strict=True) if k == "traceparent"])
    (first,), (second,), (third,) = seen
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", first)
    assert first != second and third == given
    wire.ended(3)


def test_an_app_that_is_not_there(tmp_path: Path) -> None:
    request = b"GET /users/1 HTTP/1.1\r\nHost: a\r\n\r\n"
    (tmp_path / "reset").mkdir()
    (tmp_path / "gateway").mkdir()
    app = f"http://127.0.0.1:{free_port()}"
    with front(tmp_path / "reset", app) as dead, dead.connect() as client:
        client.sendall(request)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        assert brief(dead.ended()[0]) == ("GET", "/users/{id}", None, "none")
    with front(tmp_path / "gateway", app, "--bad-gateway") as dead, dead.connect() as client:
        client.sendall(request)
        assert read_all(client).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert brief(dead.ended()[0]) == ("GET", "/users/{id}", None, "none")


def test_a_silent_client_of_an_app_that_is_not_there(tmp_path: Path) -> None:
    with front(tmp_path, f"http://127.0.0.1:{free_port()}") as dead, dead.connect() as client:
        client.settimeout(PATIENCE)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        assert dead.begun() == []
