"""The content of an answer: no value of it is in what is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError
from seism.experiment.answer import (
    MAX_BODY,
    MAX_ITEMS,
    MAX_PARTS,
    Contents,
    Reader,
    target,
    unexpected,
)
from seism.experiment.request import Expect

READER = Reader("salt")
JSON = {"content-type": "application/json; charset=utf-8"}
HTML = {"content-type": "text/html"}


def parts(value: Any) -> dict[str, str]:
    return dict(READER.read(200, JSON, json.dumps(value).encode()).parts)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/login?next=/cart/17", "/login?next"),
        ("http://127.0.0.1:8080/items/17", "/items/{id}"),
        ("https://sso.example.com/auth?state=abc&code=1", "//sso.example.com/auth?code&state"),
        ("", "/"),
        ("/users/ann@example.com", "/users/{id}"),
        ("http://[", "(invalid)"),
    ],
)
def test_a_target_has_no_values(location: str, shown: str) -> None:
    assert target(location, "127.0.0.1") == shown


def test_the_parts_of_json_are_its_paths() -> None:
    found = parts({"items": [{"id": 1}, {"id": 2}], "total": 2, "name": "", "more": None})
    assert list(found) == [
        "type", "$", "$.items", "$.items[0]", "$.items[0].id", "$.items[1]", "$.items[1].id",
        "$.more", "$.name", "$.total",
    ]  # fmt: skip
    assert (found["$.items"], found["$.name"], found["$.more"]) == ("l2", "s", "z")
    assert found["$.items[1].id"] == found["$.total"]


def test_equal_values_of_other_types_differ() -> None:
    assert len({parts({"a": value})["$.a"] for value in (1, "1", True, None, [], {})}) == 6


def test_another_salt_is_another_digest() -> None:
    body = b'{"a": 1}'
    other = Reader("other").read(200, JSON, body).parts
    assert other["$.a"] != READER.read(200, JSON, body).parts["$.a"]


@given(st.text(min_size=4), st.integers(1000))
def test_no_value_is_told(text: str, number: int) -> None:
    # The type is the response's own, and a word that Hypothesis may well try.
    found = parts({"a": text, "b": [number]})
    told = json.dumps([value for path, value in found.items() if path != "type"])
    assert json.dumps(text)[1:-1] not in told
    assert str(number) not in told.replace('"', " ").split()


@pytest.mark.parametrize("key", ["17", "ann@example.com", "6f1c2b9a-0d3e-4c55-8f6e-0a1b2c3d4e5f"])
def test_a_key_that_looks_like_data_is_shown_by_its_shape(key: str) -> None:
    found = parts({key: {"name": "x"}, key + "8": 1})
    assert key not in json.dumps(found)
    assert "$.{id}.name" in found


@pytest.mark.parametrize(
    ("headers", "body", "broken"),
    [
        (JSON, b'{"a": [1, 2', "JSON"),
        (JSON, b"<html>", "JSON"),
        (JSON, b"[" * 100_000, "JSON"),
        (JSON, b"{}", ""),
        ({"content-type": "application/problem+json"}, b"", "JSON"),
        (HTML, b"<html><body>", "HTML"),
        (HTML, b"<html><body></body></HTML>", ""),
        (HTML, b"<p>a fragment", ""),
        ({}, b"{", ""),
    ],
)
def test_a_body_that_does_not_parse(headers: dict[str, str], body: bytes, broken: str) -> None:
    assert READER.read(200, headers, body).broken == broken


def test_only_a_2xx_has_content() -> None:
    assert READER.read(500, JSON, b"{}").parts == READER.read(204, JSON, b"").parts == {}
    assert READER.read(302, {"location": "/a"}, b"").target == "/a"


def test_a_large_body_has_few_parts() -> None:
    assert len(parts({f"k{'a' * n}": n for n in range(2 * MAX_PARTS)})) == MAX_PARTS + 2
    assert len(parts(list(range(1000)))) == MAX_ITEMS + 3
    assert set(READER.read(200, HTML, b"x" * (MAX_BODY + 1)).parts) == {"type", "body"}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def test_a_deep_body_has_short_names() -> None:
    assert max(map(len, parts(nested(60)))) <= 160


def told(contents: Contents, value: Any, *, calm: bool = True) -> tuple[str, Any]:
    return contents.told("GET /", READER.read(200, JSON, json.dumps(value).encode()), calm=calm)


def test_volatile_parts_are_left_out_once_they_are_known() -> None:
    contents = Contents(READER)
    for number in range(3):
        told(contents, {"name": "a", "at": number})
    first, _ = told(contents, {"name": "a", "at": 7}, calm=False)
    second, more = told(contents, {"name": "a", "at": 8}, calm=False)
    assert (first, more) == (second, None)
    other, more = told(contents, {"name": "b", "at": 9}, calm=False)
    assert other != second
    assert set(more) == {"type", "$", "$.name"}


EXPECT = {"statuses": (), "json": {}, "text": ""}


@pytest.mark.parametrize(
    ("expect", "wrong"),
    [
        ({}, ""),
        ({"statuses": [200]}, ""),
        ({"statuses": [201]}, "its status"),
        ({"text": "cup"}, ""),
        ({"text": "pot"}, "its text"),
        ({"json": {"$.items[0].name": "cup", "$.total": {"min": 1, "max": 3}}}, ""),
        ({"json": {"$.items[1].name": "cup"}}, "`$.items[1].name`"),
        ({"json": {"$.total": {"min": 4}, "$.ok": 1}}, "`$.total`, `$.ok`"),
        ({"json": {"$.items.name": "cup"}}, "`$.items.name`"),
    ],
)
def test_what_is_expected(expect: dict[str, Any], wrong: str) -> None:
    body = json.dumps({"items": [{"name": "cup"}], "total": 3, "ok": True}).encode()
    assert unexpected({**EXPECT, **expect}, 200, body) == wrong
    assert unexpected({**EXPECT, **expect}, 503, b"") == ""


def test_a_body_that_is_not_json_is_unexpected() -> None:
    assert unexpected({**EXPECT, "json": {"$.a": 1}}, 200, b"<html>") == "it is not JSON"


@pytest.mark.parametrize("json_", [{"total": 1}, {"$.a": {"least": 1}}, {"$.a": {"min": "b"}}])
def test_what_cannot_be_expected(json_: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="json: "):
        Expect(json=json_)
