"""What a caller of the control API can hold, name, or get wrong."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from seism.errors import SeismError
from tests.processes import sidecar
from tests.proxy.harness import PATIENCE, eventually
from tests.sidecar.control.harness import Control, control


@pytest.fixture
def api() -> Iterator[Control]:
    with control() as api:
        yield api


BAD_NAMES = ["a/b", "\ud800", "a\0b", "a\x1b[2J", "..", ".", "x" * 201]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_no_path_can_have_is_refused(api: Control, name: str) -> None:
    made = api("POST", "/proxies", {"name": name, "upstream": "127.0.0.1:1"})
    assert made.status == 400
    toxic = {"name": name, "type": "latency"}
    assert api("POST", "/proxies/backend/toxics", toxic).status == 400
    both = {"name": "b", "upstream": "127.0.0.1:1", "toxics": [toxic]}
    assert api("POST", "/populate", [both]).status == 400
    assert list(api("GET", "/proxies").json) == ["backend"]


@pytest.mark.parametrize("name", ["a b", "café", "日本", "x" * 200, "a%2Fb", "a?b#c", "..a"])
def test_any_other_name_can_be_addressed(api: Control, name: str) -> None:
    assert api("POST", "/proxies", {"name": name, "upstream": "127.0.0.1:1"}).status == 201
    path = f"/proxies/{quote(name, safe='')}"
    assert api("GET", path).json["name"] == name
    assert api("DELETE", path).status == 204


@pytest.mark.parametrize("address", ["a\0b:80", "\x1b]0;x:80", "unix:/tmp/\0", "\ud800:80"])
@pytest.mark.parametrize("key", ["listen", "upstream"])
def test_an_address_with_control_characters_is_refused(
    api: Control, key: str, address: str
) -> None:
    given = {"name": "b", "upstream": "127.0.0.1:1", key: address}
    assert api("POST", "/proxies", given).status == 400


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /proxies HTTP/1.1\r\n@Content-Length: 3\r\n\r\n\xff\xfe{",
        b"POST /proxies HTTP/1.1\r\n@Content-Length: 4\r\n\r\n\0\0\0\0",
        b"GET /seism/events?topics=%ff HTTP/1.1\r\n@\r\n",
        b"GET /seism/events?%ff=a HTTP/1.1\r\n@\r\n",
    ],
)
def test_what_is_malformed_is_a_400(request_: bytes, tmp_path: Path) -> None:
    with sidecar(tmp_path / "journal.jsonl") as there:
        with socket.create_connection((there.host, there.port), PATIENCE) as client:
            client.sendall(request_.replace(b"@", b"Host: 127.0.0.1\r\n"))
            assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in (tmp_path / "journal.log").read_text()


def test_each_answer_has_an_id(api: Control) -> None:
    ids = {
        api("GET", path).headers["X-Toxiproxy-Request-Id"] for path in ("/version", "/no", "/no")
    }
    assert len(ids) == 3


@pytest.mark.parametrize("how", ["made", "changed"])
def test_a_proxy_is_no_backend_of_itself(api: Control, how: str) -> None:
    listen = api("GET", "/proxies/backend").json["listen"]
    if how == "changed":
        done = api("PATCH", "/proxies/backend", {"upstream": listen})
    else:
        done = api("POST", "/proxies", {"name": "b", "upstream": listen, "listen": listen})
    assert done.status == 400
    assert "is where the proxy itself listens" in done.json["error"]


def connection(api: Control) -> socket.socket:
    return socket.create_connection(api.server.address, PATIENCE)


def test_the_longest_idle_connection_goes_when_there_are_too_many(
    api: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seism.sidecar.control.server.MAX_CONNECTIONS", 5)
    with contextlib.ExitStack() as stack:
        idle = []
        for count in range(1, 6):
            idle.append(stack.enter_context(connection(api)))
            eventually(lambda: len(api.server.idle) == count)  # noqa: B023
        for _ in range(3):
            stack.enter_context(connection(api))
        for client in idle[:3]:
            assert client.recv(1) == b""
        assert api("GET", "/version").status == 200


def test_a_connection_that_asks_nothing_is_closed(
    api: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seism.sidecar.control.server.IDLE_SECONDS", 0.2)
    for begun in (b"", b"GET ", b"GET / HTTP/1.1\r\n@"):
        with connection(api) as client:
            client.sendall(begun)
            while client.recv(4096):
                pass
    eventually(lambda: not api.server.idle and not api.server.connections)


def test_leases_are_bounded(tmp_path: Path) -> None:
    with sidecar(tmp_path / "journal.jsonl") as there:
        for _ in range(1024):
            there.call("POST", "/seism/leases", {"seconds": 60})
        with pytest.raises(SeismError, match="too many leases"):
            there.call("POST", "/seism/leases", {"seconds": 60})
        there.call("DELETE", "/seism/leases/lease-1")
        there.call("POST", "/seism/leases", {"seconds": 60})
