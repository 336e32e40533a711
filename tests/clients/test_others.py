"""What the clients send that are not run here, byte by byte, against a real ``seism serve``.

toxiproxy-ruby, -go, -java, -php, two of .NET, rust and elixir; what they need was measured
against Toxiproxy 2.12.0. Everything is written to a socket as they write it.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from seism.client import Control
from tests.proxy.harness import PATIENCE

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


class Answer:
    """The next response on ``sock``."""

    def __init__(self, sock: socket.socket, method: str) -> None:
        response = http.client.HTTPResponse(sock, method=method)
        response.begin()
        self.status = response.status
        self.type = response.headers.get("Content-Type", "")
        self.warning = response.headers.get("Warning", "")
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection, kept alive."""

    def __init__(self, control: Control) -> None:
        self.sock = socket.create_connection((control.host, control.port), PATIENCE)
        self.host = f"{control.host}:{control.port}"

    def __call__(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """``body`` as JSON, or bytes; the length is added unless the headers say how it comes."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if data is not None and "Transfer-Encoding" not in (headers or {}):
            lines.append(f"Content-Length: {len(data)}")
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + (data or b""))
        return Answer(self.sock, method)


@pytest.fixture
def wire(control: Control) -> Iterator[Wire]:
    found = Wire(control)
    yield found
    found.sock.close()


def create(wire: Wire, name: str = "one") -> dict[str, Any]:
    made = wire("POST", "/proxies", {"name": name, "upstream": "127.0.0.1:1"}, JSON)
    assert made.status == 201
    found: dict[str, Any] = made.json
    return found


def test_ruby(wire: Wire) -> None:
    """Net::HTTP says form-urlencoded where nobody says anything else; updates by POST."""
    body = {"upstream": "127.0.0.1:1", "name": "one", "listen": "127.0.0.1:0", "enabled": None}
    made = wire("POST", "/proxies", body, FORM)
    assert (made.status, made.json["enabled"]) == (201, True)
    assert wire("POST", "/proxies", body, FORM).status == 409
    assert wire("POST", "/proxies/one", {"enabled": False}, FORM).json["enabled"] is False
    toxic = {"name": "latency_downstream", "type": "latency", "stream": "downstream",
             "toxicity": 1.0, "attributes": {"latency": 10, "jitter": 0}}  # fmt: skip
    assert wire("POST", "/proxies/one/toxics", toxic, FORM).status == 200
    changed = wire("POST", "/proxies/one/toxics/latency_downstream", toxic, FORM)
    assert (changed.status, changed.warning) == (200, "")
    assert wire("DELETE", "/proxies/one/toxics/latency_downstream").status == 204
    # No body, and not even a Content-Length.
    assert wire("POST", "/reset", None, FORM).status == 204
    populated = wire("POST", "/populate", [{"name": "one", "upstream": "127.0.0.1:2"}], FORM)
    assert (populated.status, [each["name"] for each in populated.json["proxies"]]) == (
        201, ["one"],
    )  # fmt: skip


def test_go(wire: Wire) -> None:
    """PATCH where the version is 2.6.0 or newer; whole structs with their zero values."""
    agent = {"User-Agent": "toxiproxy-cli/2.12.0 (linux/amd64)", **JSON}
    version = tuple(map(int, wire("GET", "/version", None, agent).json["version"].split(".")))
    assert version >= (2, 6, 0)
    shown = create(wire)
    whole = {**shown, "listen": "", "toxics": None}
    patched = wire("PATCH", "/proxies/one", {**whole, "enabled": False}, agent)
    assert (patched.status, patched.json) == (200, {**shown, "enabled": False})
    toxic = {"attributes": {"latency": 10}, "name": "", "type": "latency", "stream": "upstream",
             "toxicity": 1}  # fmt: skip
    assert wire("POST", "/proxies/one/toxics", toxic, agent).json["name"] == "latency_upstream"
    update = {"attributes": {"latency": 20}, "toxicity": 0.5}
    changed = wire("PATCH", "/proxies/one/toxics/latency_upstream", update, agent)
    assert changed.json["attributes"]["latency"] == 20
    assert changed.json["toxicity"] == 0.5
    refused = wire("POST", "/proxies/one/toxics", {**toxic, "name": "x", "stream": ""}, agent)
    assert refused.status == 400
    assert refused.json["error"] == "stream was invalid, can be either upstream or downstream"
    # An empty body of known length.
    assert wire("POST", "/reset", b"", agent).status == 204
    listed = wire("GET", "/proxies", None, agent)
    assert (listed.status, list(listed.json)) == (200, ["one"])


def test_java(wire: Wire) -> None:
    """HttpURLConnection: form-urlencoded, and whole objects back."""
    accept = {**FORM, "Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}
    shown = create(wire)
    assert wire("POST", "/proxies/one", {"upstream": "127.0.0.1:3"}, accept).json == {
        **shown, "upstream": "127.0.0.1:3",
    }  # fmt: skip
    toxic = {"name": "t", "type": "timeout", "stream": "downstream", "toxicity": 1.0,
             "attributes": {"timeout": 10}}  # fmt: skip
    made = wire("POST", "/proxies/one/toxics", toxic, accept)
    assert made.json == toxic
    changed = wire("POST", "/proxies/one/toxics/t", {"attributes": {"timeout": 20}}, accept)
    assert changed.json["attributes"] == {"timeout": 20}
    assert wire("GET", "/proxies/one/toxics", None, accept).json == [changed.json]


def test_php(wire: Wire) -> None:
    """Guzzle: a whole number where the chance is meant, and the status decides."""
    create(wire)
    headers = {"User-Agent": "GuzzleHttp/7", **JSON}
    body = {"name": None, "type": "timeout", "stream": "downstream", "toxicity": 1,
            "attributes": {"timeout": 10}}  # fmt: skip
    made = wire("POST", "/proxies/one/toxics", body, headers)
    assert (made.status, made.json["attributes"]) == (200, {"timeout": 10})
    assert wire("GET", "/proxies/two", None, headers).status == 404
    again = wire("POST", "/proxies", {"name": "one", "upstream": "127.0.0.1:1"}, headers)
    assert again.status == 409


def test_net(wire: Wire) -> None:
    """Pascal case, names of enumerations, null for what is not set; the error is ``title``."""
    net = {"Content-Type": "application/json; charset=utf-8"}
    body = {"Name": "one", "Listen": None, "Upstream": "127.0.0.1:1", "Enabled": True,
            "Toxics": None}  # fmt: skip
    made = wire("POST", "/proxies", body, net)
    assert made.status == 201
    assert made.type.startswith("application/json")
    toxic = {"Name": None, "Type": "latency", "Stream": "DownStream", "Toxicity": None,
             "Attributes": {"Latency": 10, "Jitter": None}}  # fmt: skip
    added = wire("POST", "/proxies/one/toxics", toxic, net)
    assert added.json["stream"] == "downstream"
    assert added.json["attributes"] == {"latency": 10, "jitter": 0}
    assert added.warning == ""
    refused = wire("POST", "/proxies", body, net)
    assert (refused.status, refused.json["title"]) == (409, "proxy already exists")
    missing = wire("GET", "/proxies/none", None, net)
    assert (missing.status, missing.json["title"]) == (404, "proxy not found")
    assert wire("POST", "/proxies/one", {"Enabled": False}, net).json["enabled"] is False


def test_net_waits_before_it_sends_the_body(wire: Wire) -> None:
    body = b'{"name":"one","upstream":"127.0.0.1:1"}'
    head = (
        f"POST /proxies HTTP/1.1\r\nHost: {wire.host}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n"
    )
    wire.sock.sendall(head.encode())
    assert wire.sock.recv(1000).startswith(b"HTTP/1.1 100 ")
    wire.sock.sendall(body)
    assert Answer(wire.sock, "POST").status == 201


def test_a_body_in_chunks_and_with_a_byte_order_mark(wire: Wire) -> None:
    """.NET's JsonContent is chunked, its StreamWriter begins with a mark."""
    text = b'\xef\xbb\xbf{"name":"one","upstream":"127.0.0.1:1"}'
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (text[:7], text[7:]))
    chunked = {**JSON, "Transfer-Encoding": "chunked"}
    assert wire("POST", "/proxies", chunks + b"0\r\n\r\n", chunked).status == 201
    assert wire("GET", "/proxies/one").status == 200


def test_rust(wire: Wire) -> None:
    """Whole objects, empty toxics included; populate answers with the same."""
    entry = {"name": "one", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "enabled": True,
             "toxics": []}  # fmt: skip
    made = wire("POST", "/populate", [entry], JSON)
    (shown,) = made.json["proxies"]
    assert made.status == 201
    assert shown == {**entry, "listen": shown["listen"]}
    again = wire("POST", "/populate", [shown], JSON)
    assert again.json["proxies"] == [shown]
    changed = wire("POST", "/proxies/one", {**shown, "enabled": False}, JSON)
    assert (changed.status, changed.warning) == (200, "")


def test_elixir(wire: Wire) -> None:
    """Nulls, header names in lower case, and one connection for everything."""
    headers = {"content-type": "application/json", "accept": "*/*"}
    body = {"name": "one", "listen": None, "upstream": "127.0.0.1:1", "enabled": None}
    made = wire("POST", "/proxies", body, headers)
    assert made.status == 201
    assert made.type.replace(" ", "") == "application/json;charset=utf-8"
    toxic = {"type": "timeout", "name": None, "stream": None, "toxicity": None, "attributes": None}
    added = wire("POST", "/proxies/one/toxics", toxic, headers)
    assert added.json == {
        "type": "timeout", "name": "timeout_downstream", "stream": "downstream", "toxicity": 1.0,
        "attributes": {"timeout": 0},
    }  # fmt: skip
    assert wire("DELETE", "/proxies/one", None, headers).status == 204


@pytest.mark.parametrize("name", ["a b", "müsli", "100%", "a.b:c", "?", "#", "+"])
def test_names_that_need_escaping(wire: Wire, name: str) -> None:
    create(wire, name)
    path = f"/proxies/{quote(name, safe='')}"
    assert wire("GET", path).json["name"] == name
    assert wire("POST", f"{path}/toxics", {"type": "timeout", "name": name}).json["name"] == name
    assert wire("DELETE", f"{path}/toxics/{quote(name, safe='')}").status == 204
    assert wire("DELETE", path).status == 204


def test_a_refusal_leaves_the_connection_usable(wire: Wire) -> None:
    for body in (b"", b"{", b"[]", b'{"name":"x"}', b"\xff"):
        assert wire("POST", "/proxies", body, JSON).status == 400
    assert wire("PUT", "/proxies", {}, JSON).status == 405
    assert wire("GET", "/version").json == {"version": "2.12.0"}
