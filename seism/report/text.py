"""Text from outside, made fit to be shown.

Routes, reasons and log templates come from the app under test and can hold anything.
"""

from __future__ import annotations

LIMIT = 300
"""Characters of one shown text; nobody reads more in a report."""


def clean(text: object, limit: int = LIMIT) -> str:
    """One line of printable characters, at most ``limit`` of them.

    What is not printable is written as a Python escape: newlines, terminal escapes,
    marks that turn the writing direction, lone surrogates. So the result is valid in
    XML 1.0 (section 2.2, Char), in UTF-8 and on any terminal.
    """
    raw = str(text)
    # An escape is longer than its character: cut first, so that huge input costs little.
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in raw[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def seconds(value: float) -> str:
    """A duration as people say it: ``0.4 ms``, ``120 ms``, ``1.04 s``, ``12.1 s``."""
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 route``, ``2 routes``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
