from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError
from seism.options import build, describe, nearest, option


@dataclass(frozen=True, slots=True)
class Inner:
    name: str = option(help="its name")


@dataclass(frozen=True, slots=True)
class Sample:
    path: str = option(help="where")
    rate: float = option(1.0, help="how often", minimum=0, maximum=1)
    delay: int = option(0, help="how long", unit="ms", minimum=0)
    stream: str = option("up", help="which way", choices=("up", "down"))
    on: bool = option(True, help="whether")
    limit: int | None = option(None, help="at most")
    names: tuple[str, ...] = option((), help="names")
    inner: Inner | None = option(None, help="a table")
    table: dict[str, int] = option({}, help="numbers by name")
    from_: str = option("", help="a keyword")
    made: int = 3


@dataclass(frozen=True, slots=True)
class Picky:
    low: int = option(0, help="low")
    high: int = option(0, help="high")

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ConfigurationError("low is more than high")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KEYS = [described.name for described in describe(Sample)]


def test_values_become_an_instance() -> None:
    assert build(
        Sample,
        {
            "path": "/",
            "rate": 1,
            "delay": 5.0,
            "stream": "down",
            "limit": 7,
            "names": ["a", "b"],
            "inner": {"name": "x"},
            "table": {"a": 1},
            "from": "here",
        },
        "file",
    ) == Sample("/", 1.0, 5, "down", True, 7, ("a", "b"), Inner("x"), {"a": 1}, "here")


def test_defaults_are_not_shared() -> None:
    first, second = (build(Sample, {"path": "/"}, "file") for _ in range(2))
    first.table["a"] = 1
    assert second.table == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "file: a table is expected, not []"),
        ({}, "file: missing required key 'path'"),
        ({"path": "/", "dely": 1}, "file: unknown key 'dely'; did you mean 'delay'?"),
        ({"path": "/", "made": 1}, "file: unknown key 'made'"),
        ({"path": 3}, "file.path: 3 is not allowed, it must be a string"),
        ({"path": None}, "file.path: None is not allowed, it must be a string"),
        ({"path": "/", "rate": 2}, "file.rate: 2.0 is not allowed, it must be 0 to 1"),
        ({"path": "/", "rate": True}, "file.rate: True is not allowed, it must be a number, 0 to"),
        ({"path": "/", "rate": float("nan")}, "file.rate: nan is not allowed"),
        ({"path": "/", "delay": -1}, "file.delay: -1 is not allowed, it must be at least 0 ms"),
        ({"path": "/", "delay": 1.5}, "file.delay: 1.5 is not allowed, it must be a whole number"),
        ({"path": "/", "delay": "1"}, "file.delay: '1' is not allowed, it must be a whole number"),
        ({"path": "/", "on": 1}, "file.on: 1 is not allowed, it must be true or false"),
        (
            {"path": "/", "stream": "dwn"},
            "file.stream: 'dwn' is not allowed, one of up, down; did you mean 'down'?",
        ),
        ({"path": "/", "stream": "zzz"}, "file.stream: 'zzz' is not allowed, one of up, down"),
        ({"path": "/", "names": "ab"}, "file.names: 'ab' is not allowed, it must be a list"),
        ({"path": "/", "names": ["a", 1]}, "file.names[1]: 1 is not allowed"),
        ({"path": "/", "inner": {}}, "file.inner: missing required key 'name'"),
        ({"path": "/", "table": {"a": "b"}}, "file.table.a: 'b' is not allowed"),
    ],
)
def test_what_is_wrong_is_said_with_key_value_and_what_is_allowed(
    values: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(Sample, values, "file")
    assert str(caught.value).startswith(message)


def test_a_class_that_refuses_says_where() -> None:
    with pytest.raises(ConfigurationError, match=r"^file: low is more than high$"):
        build(Picky, {"low": 2, "high": 1}, "file")


def test_lenient_is_toxiproxys_way() -> None:
    values = {"PATH": "/", "Delay": 3, "unheard": 1, "rate": None}
    assert build(Sample, values, "body", lenient=True) == Sample("/", delay=3)
    with pytest.raises(ConfigurationError):
        build(Sample, {"Path": "/", "DELAY": -3}, "body", lenient=True)


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.booleans())
def test_any_input_is_an_instance_or_one_clear_line(values: Any, lenient: bool) -> None:
    try:
        built = build(Sample, values, "file", lenient=lenient)
    except ConfigurationError as error:
        assert str(error).startswith("file")
        assert "\n" not in str(error)
        assert len(str(error)) < 400
    else:
        assert 0 <= built.rate <= 1 and built.delay >= 0 and built.stream in ("up", "down")


def test_a_declaration_describes_itself() -> None:
    described = {item.name: item for item in describe(Sample)}
    assert list(described) == KEYS
    assert "made" not in described
    assert described["path"].required and not described["table"].required
    assert described["delay"].type == "int"
    assert described["delay"].option.allowed == "at least 0 ms"
    assert described["rate"].option.allowed == "0 to 1"
    assert described["stream"].default == "up"


def test_the_nearest_known_name_is_offered() -> None:
    assert nearest("lateny", ["latency", "timeout"]) == "; did you mean 'latency'?"
    assert nearest("zzz", ["b", "a"]) == "; known: a, b"
    assert nearest("zzz", []) == ""
