"""No attribute of any registered toxic can crash or wedge the sidecar.

Each attribute is taken to its bounds and past them, and given the wrong type; then
Hypothesis makes up whole toxics, and the connections that they meet must be let go of.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seism import registry
from seism.errors import ConfigurationError
from seism.model import Which
from seism.options import Described, build, describe
from seism.protocols.fault import Fault
from seism.toxics.base import Toxic
from tests.proxy.harness import exchange
from tests.sidecar.control.harness import Answer, Control, control

TOXICS = "/proxies/backend/toxics"
KNOWN = registry.load().toxics


def needed(toxic: type[Toxic]) -> dict[str, Any]:
    """The fewest attributes without which it is refused, numbers at their maximum."""
    keys = list(describe(toxic))
    for few in ([], [key for key in keys if key.required], keys):
        given = {key.name: largest(key) for key in few}
        with contextlib.suppress(ConfigurationError):
            build(toxic, given, "attributes")
            return given
    raise AssertionError(f"{toxic.type} takes no attributes at all")


def largest(key: Described) -> Any:
    if key.option.maximum is not None:
        return key.option.maximum
    return {"bool": True, "dict[str, str]": {}}.get(key.type, "X-Test")


REQUIRED = {name: least for name, toxic in KNOWN.items() if (least := needed(toxic))}
"""What a type cannot be without."""

WHICH = [key.name for key in describe(Which)]

ATTRIBUTES = [(name, key) for name, toxic in sorted(KNOWN.items()) for key in describe(toxic)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Control]:
    with control() as found:
        yield found


@pytest.fixture
def api(shared: Control) -> Iterator[Control]:
    yield shared
    assert shared("POST", "/reset").status == 204


def speak(api: Control, type: str) -> None:
    """Have the proxy speak what a toxic of ``type`` needs."""
    toxic = KNOWN[type]
    protocol = (toxic.protocol or "redis") if issubclass(toxic, Fault) else ""
    assert api("PATCH", "/proxies/backend", {"protocol": protocol}).status == 200


def add(api: Control, type: str, attributes: Any, **fields: Any) -> Answer:
    speak(api, type)
    body = {"type": type, "name": "t", "attributes": attributes, **fields}
    return api("POST", TOXICS, body)


def wrong(key: Described) -> list[Any]:
    """Values that the attribute must refuse."""
    option = key.option
    if key.type == "dict[str, str]":
        return [[], [1], {"a": 1}, "a: b", 1, True]
    values: list[Any] = [[], {}, [1], {"a": 1}]
    if key.type == "bool":
        return [*values, 0, 1, "true"]
    if key.type == "str":
        return [*values, 0, True, *(["", "x", option.choices[0].upper()] if option.choices else [])]
    values += ["", "1", "1ms", True, False, float("nan"), float("inf"), 10**400, -(10**400), 2**64]
    assert option.minimum is not None, "a number without a range"
    assert option.maximum is not None, "a number without a range"
    values += [option.minimum - 1, option.maximum + 1]
    return [*values, 1.5] if key.type == "int" else values


def right(key: Described) -> list[Any]:
    option = key.option
    if key.type == "bool":
        return [True, False, None]
    if key.type == "str":
        return [*option.choices, "X-Test" if key.required else None]
    if key.type == "dict[str, str]":
        return [{}, {"X-Test": "1"}, None]
    least, most = option.minimum, option.maximum
    assert least is not None and most is not None
    return [least, most, None if not key.required else most]


@pytest.mark.parametrize(("type", "key"), ATTRIBUTES, ids=lambda each: getattr(each, "name", each))
def test_what_an_attribute_cannot_be_is_said(api: Control, type: str, key: Described) -> None:
    for value in wrong(key):
        answer = add(api, type, {**REQUIRED.get(type, {}), key.name: value})
        assert answer.status == 400, (value, answer.body)
        error = answer.json["error"]
        assert re.search(rf"attributes\.{key.name}[.:]", error)
        assert key.option.allowed in error
        if key.option.unit:
            assert key.option.unit in error
        assert len(error) < 400
    assert api("GET", TOXICS).json == []


@pytest.mark.parametrize(("type", "key"), ATTRIBUTES, ids=lambda each: getattr(each, "name", each))
def test_every_attribute_takes_its_bounds(api: Control, type: str, key: Described) -> None:
    for value in right(key):
        given = {**REQUIRED.get(type, {}), key.name: value}
        answer = add(api, type, given)
        assert answer.status == 200, answer.body
        patched = api("PATCH", f"{TOXICS}/t", {"attributes": given})
        assert patched.status == 200
        assert api("DELETE", f"{TOXICS}/t").status == 204


@pytest.mark.parametrize("type", sorted(KNOWN))
def test_what_is_required_is_said_and_everything_else_has_a_default(
    api: Control, type: str
) -> None:
    speak(api, type)
    answer = api("POST", TOXICS, {"type": type})
    if type in REQUIRED:
        assert answer.status == 400
        ((name, value), *_) = REQUIRED[type].items()
        assert name in answer.json["error"]
        assert " B)" in answer.json["error"] or isinstance(value, str)
    else:
        assert answer.status == 200


def test_rules_across_attributes_hold_on_a_change_too(api: Control) -> None:
    assert add(api, "slicer", {"average_size": 10, "size_variation": 5}).status == 200
    answer = api("PATCH", f"{TOXICS}/t", {"attributes": {"average_size": 4}})
    assert answer.status == 400
    assert (
        "size_variation: 5 is not allowed, it must be 0 to average_size (4) B"
        in (answer.json["error"])
    )
    shown = {"average_size": 10, "size_variation": 5, "delay": 0}
    assert api("GET", f"{TOXICS}/t").json["attributes"] == shown


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"match": 5}, "match: a table is expected"),
        ({"match": {"client": 5}}, "match.client: 5 is not allowed, it must be a list"),
        ({"match": {"client": ["x"]}}, "match: client: 'x' is neither an IP address nor"),
        ({"match": {"first_bytes": "\u20ac"}}, "match: first_bytes: each character must be one"),
        ({"connections": -1}, "connections: -1 is not allowed, it must be 0 to 1000000"),
        ({"exchange": {"kind": "GET"}}, "exchange: noop acts on bytes, not on exchanges"),
        ({"exchange": 5}, "exchange: 5 is not allowed, it must be a table"),
        ({"connections": 1.5}, "connections: 1.5 is not allowed, it must be a whole number"),
    ],
)  # fmt: skip
def test_what_is_common_to_all_toxics_is_checked(
    api: Control, fields: dict[str, Any], error: str
) -> None:
    answer = add(api, "noop", {}, **fields)
    assert answer.status == 400
    assert error in answer.json["error"]


def test_conditions_are_shown_where_they_are_used(api: Control) -> None:
    made = add(api, "noop", {}, match={"Client": ["10.0.0.0/8"]}, connections=3).json
    assert made["match"] == {"client": ["10.0.0.0/8"], "server_name": "", "first_bytes": ""}
    assert made["connections"] == 3
    changed = api("PATCH", f"{TOXICS}/t", {"connections": 0, "match": {"first_bytes": "x"}}).json
    assert "connections" not in changed
    assert changed["match"] == {"client": [], "server_name": "", "first_bytes": "x"}
    assert list(add(api, "latency", {}, name="plain").json) == [
        "attributes", "name", "type", "stream", "toxicity",
    ]  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def value_of(key: Described) -> st.SearchStrategy[Any]:
    likely: st.SearchStrategy[Any] = JSON
    if key.option.choices:
        likely = st.sampled_from(key.option.choices)
    elif key.type == "bool":
        likely = st.booleans()
    elif key.option.maximum is not None:
        likely = st.integers(0, 300) | st.integers(0, int(key.option.maximum))
    return st.one_of(likely, likely, likely, likely, JSON)


def toxic_of(type: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = list(describe(KNOWN[type]))
    known = {key.name: value_of(key) for key in keys}
    return st.fixed_dictionaries(
        {
            "type": st.just(type),
            "attributes": st.fixed_dictionaries({}, optional=known)
            | st.dictionaries(st.text(max_size=5), JSON, max_size=3),
        },
        optional={
            "stream": st.sampled_from(["upstream", "downstream"]),
            "toxicity": st.floats(0, 1) | JSON,
            "connections": st.integers(0, 5) | JSON,
            "exchange": st.dictionaries(st.sampled_from(WHICH), st.integers(0, 5) | JSON) | JSON,
            "match": st.fixed_dictionaries(
                {}, optional={"client": st.just(["127.0.0.1"]) | JSON,
                              "first_bytes": st.text(max_size=3) | JSON}
            ) | JSON,
        },
    )  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    toxics=st.lists(
        st.sampled_from(sorted(KNOWN)).flatmap(toxic_of), min_size=1, max_size=3
    ),
    change=st.sampled_from(sorted(KNOWN)).flatmap(toxic_of),
    sizes=st.lists(st.integers(1, 5000), max_size=3),
)  # fmt: skip
def test_whatever_is_asked_for_control_answers_and_connections_are_let_go_of(
    api: Control, toxics: list[dict[str, Any]], change: dict[str, Any], sizes: list[int]
) -> None:
    try:
        speak(api, toxics[0]["type"])
        older = api.behind.pair()
        for number, toxic in enumerate(toxics):
            answer = api("POST", TOXICS, {**toxic, "name": f"t{number}"})
            assert answer.status in (200, 400), answer.body
        ends = [*older]
        with contextlib.suppress(ConnectionResetError):  # refused
            ends.append(api.behind.connect())
        for size in sizes:
            for sock in ends:
                with contextlib.suppress(OSError):
                    sock.setblocking(False)
                    sock.send(b"*1\r\n$4\r\nPING\r\n" if size % 2 else bytes(size))
        changed = api("PATCH", f"{TOXICS}/t0", {**change, "attributes": change["attributes"]})
        assert changed.status in (200, 400, 404), changed.body
        assert api("GET", "/proxies").status == 200
    finally:
        assert api("POST", "/reset").status == 204
        drain(api)


def drain(api: Control) -> None:
    """Ends all connections, those that the backend has not accepted yet included."""
    behind = api.behind
    behind.listener.settimeout(0)
    while True:
        try:
            behind.listener.accept()[0].close()
        except (BlockingIOError, ConnectionError):
            break
    behind.listener.settimeout(20)
    behind.hang_up()


def test_after_all_that_an_exchange_goes_through(api: Control) -> None:
    drain(api)
    exchange(*api.behind.pair(), b"ping", b"pong")


def test_conditions_on_exchanges_are_shown_and_changed(api: Control) -> None:
    made = add(api, "redis_busy", {}, exchange={"key": "user:*", "nth": 2})
    assert made.json["exchange"] == {"key": "user:*", "nth": 2}
    changed = api("PATCH", f"{TOXICS}/t", {"exchange": {"kind": "SET"}})
    assert changed.json["exchange"] == {"kind": "SET"}
    wrong = api("PATCH", f"{TOXICS}/t", {"exchange": {"kex": "SET"}})
    assert wrong.status == 400
    assert "unknown key 'kex'; did you mean 'key'?; redis has every" in wrong.json["error"]
    assert api("GET", f"{TOXICS}/t").json["exchange"] == {"kind": "SET"}
    refused = api("PATCH", "/proxies/backend", {"protocol": ""})
    assert refused.status == 400
    assert "toxic t acts on exchanges of redis, remove it first" in refused.json["error"]


def test_a_protocol_that_comes_late_says_so(api: Control) -> None:
    speak(api, "noop")
    drain(api)
    api.behind.pair()
    answer = api("PATCH", "/proxies/backend", {"protocol": "redis"})
    assert answer.json["protocol"] == "redis"
    assert "the protocol counts for new connections; 1 are open" in answer.headers["Warning"]
    unknown = api("PATCH", "/proxies/backend", {"protocol": "reddis"})
    assert unknown.status == 400
    assert "'reddis' is not allowed, one of " in unknown.json["error"]
    drain(api)
