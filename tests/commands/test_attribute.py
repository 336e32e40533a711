"""``KEY=VALUE``, read as declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.commands.attribute import attributes
from seism.commands.option import word
from seism.errors import ConfigurationError
from seism.options import option


@dataclass(frozen=True)
class Inner:
    key: str = option("", help="a text")
    verify: bool = option(True, help="yes or no")


@dataclass(frozen=True)
class Declared:
    text: str = option("", help="a text")
    perhaps: str | None = option(None, help="a text")
    number: float = option(0, help="a number")
    many: tuple[int, ...] = option((), help="numbers")
    inner: Inner | None = option(None, help="a table")


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {}),
        (["text=5"], {"text": "5"}),
        (["perhaps=null"], {"perhaps": "null"}),
        (["text="], {"text": ""}),
        (["text=a=b"], {"text": "a=b"}),
        (["number=1.5", "many=[1,2]"], {"number": 1.5, "many": [1, 2]}),
        (["number=fast"], {"number": "fast"}),
        (["inner.key=x", "inner.verify=false"], {"inner": {"key": "x", "verify": False}}),
        (['inner={"key": "x"}'], {"inner": {"key": "x"}}),
    ],
)
def test_values(words: list[str], values: dict[str, Any]) -> None:
    assert attributes(words, Declared, "here") == values


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["text"], "'text' is not allowed, it must be KEY=VALUE"),
        (["=1"], "'=1' is not allowed, it must be KEY=VALUE"),
        (["txt=1"], "unknown key 'txt'; did you mean 'text'?"),
        (["text=1", "text=2"], "'text' is given twice"),
        (["inner.key=1", "inner.key=2"], "'inner' is given twice"),
        (["inner=1", "inner.key=2"], "'inner' is given twice"),
    ],
)
def test_mistakes(words: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^here: ") as caught:
        attributes(words, Declared, "here")
    assert said in str(caught.value)


def test_what_is_not_declared_here() -> None:
    values = attributes(["a=1", "b=x", "c=true"], None, "here")
    assert values == {"a": 1, "b": "x", "c": True}


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.lists(st.text())))
def test_what_is_shown_can_be_given_again(value: object) -> None:
    assert attributes([f"many={word(value)}"], Declared, "here") == {"many": value}


@given(st.text(), st.text())
def test_anything_is_read_or_refused(key: str, value: str) -> None:
    try:
        attributes([f"{key}={value}"], None, "here")
    except ConfigurationError:
        pass
