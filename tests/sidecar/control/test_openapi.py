"""The document says what the server does: a real ``seism serve`` is held against it.

Beside these tests, ``tests.sidecar.control.harness`` checks every answer that any test gets.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from seism import schema
from seism.client import Control
from seism.registry import load
from tests.processes import sidecar
from tests.sidecar.control.declared import Declared

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with sidecar(tmp_path_factory.mktemp("openapi") / "journal.jsonl") as control:
        yield control


@pytest.fixture(scope="module")
def declared(served: Control) -> Declared:
    return Declared(served.call("GET", "/seism/openapi.json"))


def ask(
    served: Control, declared: Declared, method: str, path: str, body: bytes | None = None
) -> tuple[int, http.client.HTTPMessage]:
    """The status and headers of one request, whose answer is checked."""
    connection = http.client.HTTPConnection(served.host, served.port, timeout=20)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        if "event-stream" in response.headers.get("Content-Type", ""):
            read = b""  # it does not end
        else:
            read = response.read()
    finally:
        connection.close()
    declared.check(method, path, response.status, response.headers, read)
    return response.status, response.headers


def test_it_is_a_valid_document(declared: Declared) -> None:
    validate(declared.document)
    ids = [
        operation["operationId"]
        for item in declared.document["paths"].values()
        for name, operation in item.items()
        if name != "parameters"
    ]
    assert len(ids) == len(set(ids))


def test_every_path_has_the_methods_that_it_says_and_no_others(
    served: Control, declared: Declared
) -> None:
    # What is declared is there: a row that is missing would be 404 or 405. It is asked with
    # names that do not exist, and an empty body, so nothing is changed.
    for path, methods in declared.operations.items():
        target = path.replace("{proxy}", "nobody").replace("{toxic}", "nothing")
        for method in METHODS:
            status, headers = ask(
                served, declared, method, target, b"" if method != "GET" else None
            )
            if method in methods:
                assert status != 405, (method, path)
                assert status != 404 or "{" in path, (method, path)
            else:
                assert status == 405, (method, path)
                assert set(headers["Allow"].split(", ")) == methods


def test_every_route_succeeds_as_declared(served: Control, declared: Declared) -> None:
    toxic = {"type": "latency", "name": "slow", "stream": "upstream", "toxicity": 0.5,
             "attributes": {"latency": 5}}  # fmt: skip
    proxy = {"name": "one", "upstream": "127.0.0.1:1", "listen": "127.0.0.1:0", "enabled": True,
             "toxics": [toxic]}  # fmt: skip
    done: set[tuple[str, str]] = set()

    def call(method: str, path: str, template: str, body: Any = None) -> None:
        operation = declared.operation(method, path)
        assert operation is not None
        if body is not None:
            assert declared.takes(method, path, body), body
        data = None if body is None else json.dumps(body).encode()
        status, _ = ask(served, declared, method, path, data)
        if template != "/seism/stream":
            assert str(status) == next(iter(operation["responses"])), (method, path)
        done.add((method, template))

    one, toxics, each = "/proxies/{proxy}", "/proxies/{proxy}/toxics", (
        "/proxies/{proxy}/toxics/{toxic}"
    )  # fmt: skip
    call("POST", "/proxies", "/proxies", proxy)
    call("POST", "/populate", "/populate", [proxy, {**proxy, "name": "two"}])
    for method in ("PATCH", "POST"):
        call(method, "/proxies/one", one, {"enabled": method == "POST"})
        call(method, "/proxies/one/toxics/slow", each, {"attributes": {"jitter": 1}})
    call("POST", "/proxies/two/toxics", toxics, {"type": "timeout"})
    for path, template in (
        ("/proxies/one/toxics/slow", each), ("/proxies/one/toxics", toxics), ("/proxies/one", one),
        ("/proxies", "/proxies"),
    ):  # fmt: skip
        call("GET", path, template)
    call("DELETE", "/proxies/one/toxics/slow", each)
    call("DELETE", "/proxies/one", one)
    call("POST", "/reset", "/reset")
    call("POST", "/seism/phase", "/seism/phase", {"phase": "steady", "step": None, "name": "x"})
    call("POST", "/seism/load", "/seism/load", {"segment": "x", "requests": 0, "routes": {}})
    row = ["run-1", "GET /", 1.5, 0.1, "complete", 200, "", "", "", "c1", {"$.items": "l3"}]
    call("POST", "/seism/clients", "/seism/clients", {"requests": [row[:6], row]})
    call("POST", "/seism/stopped", "/seism/stopped", {"why": "a limit"})
    call("POST", "/seism/app-ended", "/seism/app-ended", {"step": 0, "code": 3, "said": ["x"]})
    call("POST", "/seism/diagnosis", "/seism/diagnosis", {"findings": ["x"]})
    call("POST", "/seism/plan", "/seism/plan", {"steps": [{"name": "x"}]})
    call("POST", "/seism/leases", "/seism/leases", {"seconds": 60})
    for method in ("PUT", "DELETE"):
        call(method, "/seism/leases/lease-1", "/seism/leases/{lease}")
    call("POST", "/seism/census", "/seism/census", None)
    for path in ("/version", "/metrics", "/seism/workers",
                 "/seism/connections?limit=1",
                 "/seism/events?since=start", "/seism/openapi.json", "/seism/stream",
                 "/seism/"):  # fmt: skip
        call("GET", path, path.partition("?")[0])
    call("GET", "/seism/assets/page.js", "/seism/assets/{name}")
    assert done == {
        (method, path) for path, methods in declared.operations.items() for method in methods
    }


def test_every_toxic_is_described_with_units_and_ranges(declared: Declared) -> None:
    spec = declared.document["components"]["schemas"]["ToxicSpec"]
    assert spec["properties"]["type"]["enum"] == sorted(load().toxics)
    latency = declared.document["components"]["schemas"]["toxic.latency"]["properties"]["latency"]
    assert (latency["type"], latency["minimum"]) == ("integer", 0)
    assert latency["description"].endswith("(ms)")
    path = "/proxies/x/toxics"
    assert declared.takes("POST", path, {"type": "latency", "attributes": {"latency": 1}})
    for attributes in ({"latency": -1}, {"latency": "1"}, {"latency": 2**62}):
        assert not declared.takes("POST", path, {"type": "latency", "attributes": attributes})
    assert declared.takes("POST", path, {"type": "timeout", "attributes": {"latency": -1}})
    assert not declared.takes("POST", path, {"type": "nothing"})
    assert not declared.takes("POST", path, {"type": "latency", "toxicity": -3.5})


def test_the_checker_bites(declared: Declared) -> None:
    """A detector that finds nothing would pass everything."""
    headers = {"Content-Type": "application/json;charset=utf-8"}
    declared.check("GET", "/version", 200, headers, b'{"version":"2.12.0"}')
    for method, path, status, body in (
        ("GET", "/version", 418, b"{}"),
        ("GET", "/version", 200, b'{"version":2}'),
        ("GET", "/proxies/x", 200, b'{"name":"x"}'),
        ("GET", "/nowhere", 200, b"{}"),
    ):
        with pytest.raises(Exception, match=r"."):
            declared.check(method, path, status, headers, body)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int, {"type": "integer"}),
        (float | None, {"anyOf": [{"type": "number"}, {"type": "null"}]}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (tuple[bool, ...], {"type": "array", "items": {"type": "boolean"}}),
        (dict[str, Any], {"type": "object", "additionalProperties": {}}),
    ],
)
def test_schemas_of_plain_types(hint: Any, expected: dict[str, Any]) -> None:
    assert schema.of(hint, {}) == expected
