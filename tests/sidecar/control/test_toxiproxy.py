"""Toxiproxy's API as it was measured, and what ours does better."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from seism.toxics.base import HOUR_MS
from tests.proxy.harness import exchange
from tests.sidecar.control.harness import Control, control


@pytest.fixture
def api() -> Iterator[Control]:
    with control() as found:
        yield found


TOXICS = "/proxies/backend/toxics"


def test_version(api: Control) -> None:
    answer = api("GET", "/version")
    assert (answer.status, answer.json) == (200, {"version": "2.12.0"})
    assert answer.headers["Content-Type"].replace(" ", "") == "application/json;charset=utf-8"


def test_the_life_of_a_proxy(api: Control) -> None:
    upstream = api.behind.address
    made = api("POST", "/proxies", {"name": "a", "upstream": upstream})
    assert made.status == 201
    listen = made.json["listen"]
    assert listen.startswith("127.0.0.1:") and not listen.endswith(":0")
    shown = {"name": "a", "listen": listen, "upstream": upstream, "enabled": True, "toxics": []}
    assert made.json == shown
    assert api("GET", "/proxies/a").json == shown
    assert list(api("GET", "/proxies").json) == ["a", "backend"]
    for method, enabled in (("PATCH", False), ("POST", True)):
        changed = api(method, "/proxies/a", {"enabled": enabled})
        assert (changed.status, changed.json) == (200, {**shown, "enabled": enabled})
    gone = api("DELETE", "/proxies/a")
    assert (gone.status, gone.body) == (204, b"")
    assert api("GET", "/proxies/a").json["error"] == "proxy not found"


def test_the_life_of_a_toxic(api: Control) -> None:
    shown = {
        "attributes": {"latency": 100, "jitter": 0},
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1.0,
    }
    made = api("POST", TOXICS, {"type": "latency", "attributes": {"latency": 100}})
    assert (made.status, made.json) == (200, shown)
    assert api("GET", f"{TOXICS}/latency_downstream").json == shown
    change = {"attributes": {"jitter": 5}, "toxicity": 0.5}
    expected = {**shown, "attributes": {"latency": 100, "jitter": 5}, "toxicity": 0.5}
    for method in ("PATCH", "POST"):
        changed = api(method, f"{TOXICS}/latency_downstream", change)
        assert (changed.status, changed.json) == (200, expected)
    assert api("GET", "/proxies/backend").json["toxics"] == [expected]
    assert api("DELETE", f"{TOXICS}/latency_downstream").status == 204
    assert api("GET", f"{TOXICS}/latency_downstream").json["error"] == "toxic not found"


def test_toxics_are_listed_upstream_first_then_by_creation(api: Control) -> None:
    for name, stream in (("a", "downstream"), ("c", "upstream"), ("b", "upstream")):
        api("POST", TOXICS, {"type": "timeout", "name": name, "stream": stream})
    assert [each["name"] for each in api("GET", TOXICS).json] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/proxies", {"upstream": "127.0.0.1:1"}, 400, "missing required field: name"),
        ("POST", "/proxies", {"name": "a"}, 400, "missing required field: upstream"),
        ("POST", "/proxies", {"name": "", "upstream": "x"}, 400, "missing required field: name"),
        ("POST", "/proxies", b"", 400, "bad request body: EOF"),
        ("POST", "/proxies", b"{", 400, "bad request body: "),
        ("POST", "/proxies", b"[" * 100_000, 400, "bad request body: "),
        ("POST", "/proxies", [], 400, "bad request body: "),
        ("POST", "/proxies", {"name": "backend", "upstream": "127.0.0.1:1"}, 409,
         "proxy already exists"),
        ("POST", "/proxies", {"name": "a", "upstream": "nowhere"}, 400,
         "proxy a: upstream: 'nowhere' is not an address, host:port is expected"),
        ("POST", "/proxies", {"name": "a", "upstream": "no..host:1"}, 400,
         "proxy a: upstream: 'no..host' is not a host name"),
        ("POST", "/proxies", {"name": "a", "upstream": "127.0.0.1:0"}, 400, "has no port"),
        ("POST", "/proxies", {"name": "a", "upstream": "127.0.0.1:1", "enabled": 1}, 400,
         "proxy a.enabled: 1 is not allowed, it must be true or false"),
        ("GET", "/proxies/x", None, 404, "proxy not found"),
        ("PATCH", "/proxies/x", {}, 404, "proxy not found"),
        ("DELETE", "/proxies/x", None, 404, "proxy not found"),
        ("GET", "/proxies/x/toxics", None, 404, "proxy not found"),
        ("POST", "/proxies/x/toxics", {"type": "latency"}, 404, "proxy not found"),
        ("GET", TOXICS + "/x", None, 404, "toxic not found"),
        ("PATCH", TOXICS + "/x", {}, 404, "toxic not found"),
        ("DELETE", TOXICS + "/x", None, 404, "toxic not found"),
        ("POST", TOXICS, {}, 400, "invalid toxic type"),
        ("POST", TOXICS, {"type": ["latency"]}, 400, "invalid toxic type"),
        ("POST", TOXICS, b"", 400, "bad request body: EOF"),
        ("POST", TOXICS, {"type": "latency", "stream": ""}, 400,
         "stream was invalid, can be either upstream or downstream"),
        ("POST", TOXICS, {"type": "latency", "attributes": {"latency": -1}}, 400,
         "attributes.latency: -1 is not allowed, it must be 0 to 3600000 ms"),
        ("POST", TOXICS, {"type": "latency", "attributes": {"jitter": 2**62}}, 400,
         "attributes.jitter: 4611686018427387904 is not allowed, it must be 0 to 3600000 ms"),
        ("POST", TOXICS, {"type": "latency", "attributes": {"jitter": 10**400}}, 400,
         "attributes.jitter: "),
        ("POST", TOXICS, {"type": "timeout", "attributes": {"timeout": "1s"}}, 400,
         "attributes.timeout: '1s' is not allowed, it must be a whole number, 0 to 3600000 ms"),
        ("POST", TOXICS, {"type": "latency", "toxicity": -3.5}, 400,
         "toxicity: -3.5 is not allowed, it must be 0 to 1"),
        ("POST", "/populate", {}, 400, "bad request body: "),
        ("POST", "/populate", [{"name": "a", "upstream": "127.0.0.1:1"}, {"upstream": "x"}], 400,
         "missing required field: name at proxy 2"),
        ("GET", "/nothing", None, 404, "not found"),
        ("PUT", "/proxies", {}, 405, "method not allowed"),
        ("GET", "/reset", None, 405, "method not allowed"),
    ],
)  # fmt: skip
def test_errors(api: Control, method: str, path: str, body: Any, status: int, error: str) -> None:
    before = api("GET", "/proxies").json
    answer = api(method, path, body)
    assert answer.status == answer.json["status"] == status
    assert error in answer.json["error"]
    assert answer.json["title"] == answer.json["error"]
    assert api("GET", "/proxies").json == before


def test_a_taken_toxic_name_is_a_conflict_across_streams(api: Control) -> None:
    api("POST", TOXICS, {"type": "timeout", "name": "x"})
    answer = api("POST", TOXICS, {"type": "latency", "name": "x", "stream": "upstream"})
    assert (answer.status, answer.json["error"]) == (409, "toxic already exists")


def test_a_port_in_use_is_one_clear_line(api: Control) -> None:
    taken = api.behind.proxy.listen
    answer = api("POST", "/proxies", {"name": "a", "upstream": "127.0.0.1:1", "listen": taken})
    assert answer.status == 500
    assert answer.json["error"] == f"proxy a: cannot listen on {taken}: address already in use"
    assert api("GET", "/proxies/a").status == 404


def test_what_unmodified_clients_send(api: Control) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = {"NAME": "a", "Upstream": "127.0.0.1:1", "listen": None, "enabled": None,
            "toxics": None}  # fmt: skip
    assert api("POST", "/proxies", body, form).status == 201
    toxic = {"Type": "latency", "Stream": "DownStream", "Toxicity": None, "name": None,
             "attributes": {"Latency": 7, "JITTER": None}}  # fmt: skip
    made = api("POST", "/proxies/a/toxics", toxic, form)
    assert made.status == 200
    assert made.json["name"] == "latency_DownStream"
    assert made.json["stream"] == "downstream"
    assert made.json["toxicity"] == 1.0
    assert made.json["attributes"] == {"latency": 7, "jitter": 0}
    assert "Warning" not in made.headers
    # The whole object back, as clients do that save what they have read.
    assert api("POST", "/proxies/a/toxics/latency_DownStream", made.json).status == 200
    whole = api("GET", "/proxies/a").json
    assert api("PATCH", "/proxies/a", whole).json == whole


def test_reset_takes_no_body_and_no_length(api: Control) -> None:
    api("POST", TOXICS, {"type": "timeout"})
    api("PATCH", "/proxies/backend", {"enabled": False})
    with socket.create_connection(api.server.address) as raw:
        raw.sendall(b"POST /reset HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 204 ")
    shown = api("GET", "/proxies/backend").json
    assert (shown["enabled"], shown["toxics"]) == (True, [])


def test_what_is_ignored_is_said(api: Control) -> None:
    made = api("POST", TOXICS, {"type": "latency", "attributes": {"latencyy": 7}, "foo": 1})
    assert made.status == 200
    warnings = made.headers.get_all("Warning")
    known = (
        "attributes, connections, established, exchange, match, name, stream, toxicity, turn, type"
    )
    assert warnings is not None
    assert [warning.split(" ", 2)[2].strip('"') for warning in warnings] == [
        f"unknown field 'foo' is ignored; known: {known}",
        "unknown attribute 'latencyy' of latency is ignored; did you mean 'latency'?",
    ]
    renamed = api("PATCH", f"{TOXICS}/latency_downstream", {"stream": "upstream"})
    assert "'stream' cannot be changed" in renamed.warning
    assert renamed.json["stream"] == "downstream"


def test_what_is_said_of_many_keys_is_bounded(api: Control) -> None:
    many = {f"k{number}": 1 for number in range(50_000)}
    made = api("POST", "/proxies", {**many, "x" * 5000: 1, "name": "a", "upstream": "127.0.0.1:1"})
    assert made.status == 201
    warnings = made.headers.get_all("Warning") or []
    assert len(warnings) == 21 and sum(map(len, warnings)) < 10_000
    assert warnings[-1] == '299 seism "49981 more of these"'


def test_toxics_come_with_their_proxy_or_not_at_all(api: Control) -> None:
    good = {"type": "latency", "attributes": {"latency": 5}}
    bad = {"type": "latency", "attributes": {"latency": -5}}
    proxy = {"name": "a", "upstream": "127.0.0.1:1"}
    assert api("POST", "/proxies", {**proxy, "toxics": [good, bad]}).status == 400
    assert api("POST", "/proxies", {**proxy, "toxics": [good, good]}).status == 400
    assert list(api("GET", "/proxies").json) == ["backend"]
    made = api("POST", "/proxies", {**proxy, "toxics": [good]})
    assert [each["name"] for each in made.json["toxics"]] == ["latency_downstream"]


def test_populate_keeps_replaces_and_creates(api: Control) -> None:
    api("POST", TOXICS, {"type": "latency", "attributes": {"latency": 5}})
    kept = api("GET", "/proxies/backend").json
    api("POST", "/proxies", {"name": "moved", "upstream": "127.0.0.1:1"})
    entries = [
        {"name": "backend", "listen": kept["listen"], "upstream": kept["upstream"],
         "toxics": [{"type": "timeout"}]},
        {"name": "moved", "upstream": "127.0.0.1:2"},
        {"name": "new", "upstream": "127.0.0.1:3", "enabled": False,
         "toxics": [{"type": "timeout"}]},
    ]  # fmt: skip
    answer = api("POST", "/populate", entries)
    assert answer.status == 201
    first, second, third = answer.json["proxies"]
    assert first == kept
    assert "backend is untouched" in answer.warning
    assert second["upstream"] == "127.0.0.1:2"
    assert (third["enabled"], len(third["toxics"])) == (False, 1)


def test_populate_validates_everything_first(api: Control) -> None:
    entries = [
        {"name": "a", "upstream": "127.0.0.1:1"},
        {"name": "b", "upstream": "127.0.0.1:1", "toxics": [{"type": "nope"}]},
    ]
    assert api("POST", "/populate", entries).status == 400
    assert api("POST", "/populate", [entries[0], entries[0]]).status == 409
    assert list(api("GET", "/proxies").json) == ["backend"]


def test_populate_that_cannot_bind_lists_what_it_has_done(api: Control) -> None:
    taken = api.behind.proxy.listen
    entries = [
        {"name": "a", "upstream": "127.0.0.1:1"},
        {"name": "b", "upstream": "127.0.0.1:1", "listen": taken},
    ]
    answer = api("POST", "/populate", entries)
    assert answer.status == 500
    assert [each["name"] for each in answer.json["proxies"]] == ["a"]
    assert f"cannot listen on {taken}" in answer.json["error"]


def test_another_upstream_restarts_and_the_same_does_not(api: Control) -> None:
    client, server = api.behind.pair()
    same = {"upstream": api.behind.address, "listen": api.behind.proxy.listen}
    assert api("PATCH", "/proxies/backend", same).status == 200
    exchange(client, server, b"ping", b"pong")
    with socket.create_server(("127.0.0.1", 0)) as other:
        upstream = "{}:{}".format(*other.getsockname())
        changed = api("PATCH", "/proxies/backend", {"upstream": upstream}).json
        assert (changed["upstream"], changed["listen"]) == (upstream, same["listen"])
        assert client.recv(1) == b""
        api.behind.connect()
        other.settimeout(10)
        other.accept()[0].close()


def test_control_answers_while_clients_have_stopped_reading(api: Control) -> None:
    """Toxiproxy hangs here: its most reported bug."""
    for kind, milliseconds in (("latency", 0), ("latency", HOUR_MS), ("timeout", HOUR_MS),
                               ("reset_peer", HOUR_MS)):  # fmt: skip
        attributes = {"latency" if kind == "latency" else "timeout": milliseconds}
        for stream in ("upstream", "downstream"):
            client, server = api.behind.pair()
            stuff(server)
            toxic = {"type": kind, "stream": stream, "attributes": attributes}
            assert api("POST", TOXICS, toxic).status == 200
            stuff(client)
            stuff(server)
            assert api("GET", "/proxies").status == 200
            one = f"{TOXICS}/{kind}_{stream}"
            assert api("PATCH", one, {"attributes": attributes}).status == 200
            assert api("DELETE", one).status == 204
            assert api("POST", "/reset").status == 204
    assert api("PATCH", "/proxies/backend", {"enabled": False}).status == 200
    assert api("DELETE", "/proxies/backend").status == 204


def stuff(sock: socket.socket) -> None:
    """Send until nothing more is taken at once; nobody reads it."""
    sock.settimeout(0.02)
    with contextlib.suppress(OSError):
        for _ in range(1000):
            sock.send(bytes(65536))
