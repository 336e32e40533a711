"""Regular expressions in rules: which are taken, what they find, and that no pattern takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError
from seism.protocols.sql import SHAPE_LIMIT
from seism.proxy.expression import expression


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^update orders set .* where id = \?$", "UPDATE orders SET a = ? WHERE id = ?", True),
        (r"^update orders set .* where id = \?$", "UPDATE orders SET a = ?", False),
        ("", "anything", True),
        ("^.$", "é", True),
        ("É", "aéb", True),
        (r"[(*+|]a", "*A", True),
        ("(?i:from (a|b)) ", "from b ", True),
        (r"(?P<x>a*)b$", "aab", True),
        ("x??y|z", "Z", True),
        ("a", "\udcff", False),
    ],
)
def test_what_it_finds(pattern: str, text: str, found: bool) -> None:
    assert expression(pattern, "here")(text) is found


@pytest.mark.parametrize(
    ("pattern", "at", "reason"),
    [
        ("(", 0, "missing \\): \\("),
        ("a**", 1, "bad repetition operator: \\*\\*"),
        ("a{99999}", 1, r"invalid repetition size: \{99999\}"),
        ("((a{100}){100}){100}", 3, "invalid repetition size: "),
        ("x(?=a)", 1, "look-around is not supported: matching takes linear time"),
        ("(?!a)", 0, "look-around"),
        ("[(?=](?<=a)", 5, "look-around"),
        (r"\(?(?<!a)", 3, "look-around"),
        (r"(a)\1", 3, "a back-reference is not supported: matching takes linear time"),
        (r"(?P<n>a)(?P=n)", 8, "a back-reference"),
        ("(a)(?(1)b|c)", 3, "a back-reference"),
        ("b(?>a*)", 1, "a possessive or atomic group"),
        ("a*+b", 1, "a possessive or atomic group"),
        ("(?x) a", 0, "invalid perl operator: \\(\\?x"),
        ("a\ud800", 1, "a lone surrogate is not a character"),
    ],
)
def test_refused_in_one_line(pattern: str, at: int, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^here: .*, position {at}: {reason}") as raised:
        expression(pattern, "here")
    assert "\n" not in str(raised.value)


@given(st.text("ab()[]{}*+?|\\.^:1,x<=!P\ud800", max_size=16))
def test_whatever_is_given_is_taken_or_refused(pattern: str) -> None:
    try:
        expression(pattern, "here")("aab")
    except ConfigurationError as error:
        assert str(error).startswith("here: ")


WEDGES = [
    "(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*a){20}", ".?" * 60 + r"\x00", "(?:.|.)" * 40 + r"\x00",
    "(?:.?.?)" * 30 + r"\x00", r".*.*.*.*\x00", r".{0,900}\x00", r"(.+) +\x00",
    r"(.?)*(.?)*(.?)*\x00",
]  # fmt: skip
"""Each takes a backtracking engine from minutes to years on the texts below."""


@pytest.mark.parametrize("pattern", WEDGES)
@pytest.mark.parametrize("unit", ["ab", "a", "a ", "="])
def test_what_wedges_a_backtracking_engine_ends_at_once(pattern: str, unit: str) -> None:
    found = expression(pattern, "here")
    began = time.process_time()
    found((unit * SHAPE_LIMIT)[:SHAPE_LIMIT])
    assert time.process_time() - began < 10
