"""Regular expressions in rules: which are taken, and how long those can take."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError
from seism.protocols.sql import SHAPE_LIMIT
from seism.proxy.expression import expression


@pytest.mark.parametrize(
    "pattern",
    [
        r"^update orders set .* where id = \?$", r"(?:ab)*", r"((a))*c+", r"[(*+|]a", r"\(a*\)*",
        r"(?P<x>a*)b", r"[]*+]+", "a{3}", "x??y|z", "(?i:from (a|b)) ", "a*+b", "(?:(a))*", "",
    ],
)  # fmt: skip
def test_taken(pattern: str) -> None:
    assert expression(pattern, "here").pattern == pattern


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "is no regular expression: missing \\)"),
        ("a**", "is no regular expression: multiple repeat"),
        ("(?P<a", "is no regular expression"),
        ("(a+)+$", "a repeat, an option or an alternative in it"),
        ("(?:(a*))*", "a repeat, an option or an alternative in it"),
        ("(a|a)*$", "a repeat, an option or an alternative in it"),
        ("(a?){20}", "a repeat, an option or an alternative in it"),
        ("(?i:a*)*", "a repeat, an option or an alternative in it"),
        ("(?=a*)+", "a repeat, an option or an alternative in it"),
        (".*a.*b.*c", "more than 2 repeats"),
    ],
)
def test_refused_in_one_line(pattern: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^here: .*{reason}") as raised:
        expression(pattern, "here")
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:Possible (nested )?set:FutureWarning")
@given(st.text("ab()[]{}*+?|\\.^:1,x", max_size=12))
def test_whatever_is_given_is_taken_or_refused(pattern: str) -> None:
    try:
        taken = expression(pattern, "here")
    except ConfigurationError:
        return
    assert taken.flags & re.IGNORECASE


@pytest.mark.parametrize("pattern", [".*a.*c", "a.*b.*c", r"\w+ .*=$", r"(?:ab)*(?:ba)*c"])
@pytest.mark.parametrize("unit", ["ab", "a", "a ", "="])
def test_the_worst_that_is_taken_ends_soon(pattern: str, unit: str) -> None:
    """Thousands of times as long would be what is refused."""
    text = (unit * SHAPE_LIMIT)[:SHAPE_LIMIT]
    began = time.process_time()
    expression(pattern, "here").search(text)
    assert time.process_time() - began < 10
