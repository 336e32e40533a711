from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.report.text import LIMIT, clean, count, seconds

ANYTHING = st.text(st.characters(), max_size=400)


@given(ANYTHING)
def test_cleaned_text_is_one_printable_line(text: str) -> None:
    shown = clean(text)
    assert len(shown) <= LIMIT
    assert shown.isprintable()
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}


@given(st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=LIMIT))
def test_plain_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202eabc", "\\u202eabc"),
        ("\udc80", "\\udc80"),
        ("x" * 301, "x" * 299 + "…"),
        (7, "7"),
    ],
)
def test_what_cannot_be_shown_is_escaped_or_cut(text: object, shown: str) -> None:
    assert clean(text) == shown


def test_durations_and_counts_are_written_for_people() -> None:
    assert [seconds(value) for value in (0.0004, 0.12, 2.064)] == ["0.4 ms", "120 ms", "2.06 s"]
    assert count(1, "reply", "replies") == "1 reply"
    assert count(2, "reply", "replies") == "2 replies"
    assert count(1200, "request") == "1,200 requests"
