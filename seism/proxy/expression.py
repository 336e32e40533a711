"""Regular expressions that users give, kept from taking so long that the event loop stands still.

``re`` backtracks, and nothing can interrupt it. So the text is short (the codec sees to that), and
what makes the time grow fastest with it is refused: a repeat within a repeat, alternatives or
an optional part within one (exponential), more than ``REPEATS`` of them (a power each).
"""

from __future__ import annotations

import re

from seism.errors import ConfigurationError

REPEATS = 2
"""How many ``*``, ``+`` and ``{...}`` an expression may have."""

_TOKEN = re.compile(
    r"\\. | \[\^?\]?(?:\\.|[^\]\\])*\] | \(\?? | \) | \| | [*+?][?+]? | \{[\d,]+\}[?+]? | .",
    re.DOTALL | re.VERBOSE,
)


def expression(pattern: str, where: str) -> re.Pattern[str]:
    """``pattern``, ready to be searched for in any case.

    Raises ConfigurationError for one that does not compile or could take too long; ``where``
    opens the message.
    """
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigurationError(
            f"{where}: {pattern!r} is no regular expression: {error}"
        ) from None
    reason = _slow(pattern)
    if reason:
        raise ConfigurationError(f"{where}: {pattern!r} could take too long: {reason}")
    return compiled


def _slow(pattern: str) -> str:
    """What is wrong with it; empty if nothing is."""
    repeats = 0
    loose = [False]
    """Of each group that is open: whether something in it can match in more than one way."""
    ended = False
    """The same of the group that ends just before the token."""
    for token in (found[0] for found in _TOKEN.finditer(pattern)):
        if token == ")" and len(loose) > 1:
            ended = loose.pop()
            loose[-1] |= ended
            continue
        if token.startswith("("):
            loose.append(False)
        elif token == "|" or token[0] == "?":
            loose[-1] = True
        elif token[0] in "*+" or (token[0] == "{" and len(token) > 2):
            repeats += 1
            if ended:
                return "what is repeated has a repeat, an option or an alternative in it"
            loose[-1] = True
        ended = False
    return f"it has more than {REPEATS} repeats" if repeats > REPEATS else ""
