"""Regular expressions that users give, matched in time linear in the text by RE2.

``re`` backtracks, so a pattern can take exponential time and nothing can interrupt it; no
filter that looks at patterns tells which ones do. RE2 has no look-around and no back-references,
which are what linear time rules out (https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import re2

from seism.errors import ConfigurationError

MEMORY = 1 << 20
"""Bytes that one compiled expression may take; RE2 refuses what needs more."""

_OPTIONS = re2.Options()
_OPTIONS.case_sensitive = False
_OPTIONS.never_capture = True
_OPTIONS.log_errors = False
_OPTIONS.max_mem = MEMORY

_ABSENT = {
    "look-around": re.compile(r"\(\?<?[=!]"),
    "a back-reference": re.compile(r"\\[1-9]|\(\?P=|\\[gk]<|\(\?\("),
    "a possessive or atomic group": re.compile(r"\(\?>|(?:[*+?]|\{[\d,]+\})\+"),
}
"""What Python's expressions have and linear time rules out."""
_TOKEN = re.compile(
    r"\\. | \[\^?\]?(?:\\.|[^\]\\])*\] | \(\?P?<?[=!>(]? | .", re.DOTALL | re.VERBOSE
)

Expression = Callable[[str], bool]
"""Whether the expression is found anywhere in a text."""


def expression(pattern: str, where: str) -> Expression:
    """``pattern``, ready to be searched for in any case.

    Raises ConfigurationError for one that RE2 does not take; ``where`` opens the message.
    """
    try:
        compiled = re2.compile(pattern.encode(), _OPTIONS)
    except UnicodeEncodeError as error:
        raise _refused(where, pattern, error.start, "a lone surrogate is not a character") from None
    except re2.error as error:
        raise _refused(where, pattern, *_reason(pattern, error)) from None

    def found(text: str) -> bool:
        return compiled.search(text.encode("utf-8", "replace")) is not None

    return found


def _refused(where: str, pattern: str, at: int, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: {pattern!r}, position {at}: {reason}")


def _reason(pattern: str, error: re2.error) -> tuple[int, str]:
    """Where in ``pattern``, counted from 0, and why RE2 does not take it."""
    for token in _TOKEN.finditer(pattern):
        for what, form in _ABSENT.items():
            if token[0][0] != "[" and form.match(pattern, token.start()):
                return token.start(), f"{what} is not supported: matching takes linear time"
    text = error.args[0].decode("utf-8", "replace")
    what, _, fragment = text.partition(": ")
    return max(0, pattern.find(fragment)), f"{what}: {fragment}" if fragment else what
