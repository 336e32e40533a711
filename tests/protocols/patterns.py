"""Patterns that could take time in the square of what they search, as ``re`` parses them.

``ambiguous`` finds a repetition that can give up what the part behind it could take as well, or
that can take the same bytes in two ways: only such a pattern tries bytes more than once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

ALL = frozenset(range(256))
Items = Sequence[tuple[Any, Any]]


def ambiguous(pattern: re.Pattern[Any]) -> list[str]:
    """The endless repetitions that begin as what follows them does, or end as they begin.

    What can match in any case, since one of its choices is the end of the text, is left out.
    """
    flags = pattern.flags
    return list(_ambiguous(list(_parser.parse(pattern.pattern, flags)), frozenset(), flags))


def _ambiguous(items: Items, follow: frozenset[int], flags: int) -> Iterator[str]:
    for index, (op, value) in enumerate(items):
        rest = items[index + 1 :]
        after = _first(rest, flags) | (follow if _empty(rest) else frozenset())
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            _, most, body = value
            own = _first(body, flags)
            if most is sre.MAXREPEAT:
                if own & after and not _ends(rest):
                    yield f"{op} of {body} before {rest}"
                if _choices_meet(list(body), flags):
                    yield f"choices within {op} of {body}"
                after = after | own
            yield from _ambiguous(list(body), after, flags)
        elif op is sre.SUBPATTERN:
            yield from _ambiguous(list(value[3]), after, flags)
        elif op is sre.BRANCH:
            for branch in value[1]:
                yield from _ambiguous(list(branch), after, flags)


def _choices_meet(items: Items, flags: int) -> bool:
    """Whether two choices anywhere among them can begin alike, or be nothing both."""
    for op, value in items:
        if op is sre.SUBPATTERN and _choices_meet(list(value[3]), flags):
            return True
        if op is sre.BRANCH:
            choices = [list(branch) for branch in value[1]]
            firsts = [_first(choice, flags) for choice in choices]
            if sum(map(len, firsts)) > len(frozenset().union(*firsts)):
                return True
            if sum(map(_empty, choices)) > 1:
                return True
    return False


def _ends(items: Items) -> bool:
    """Whether the next thing matches at the end of the text."""
    if not items:
        return False
    op, value = items[0]
    if op is sre.SUBPATTERN:
        return _ends(list(value[3]))
    if op is sre.BRANCH:
        return any(_ends(list(branch)) for branch in value[1])
    return op is sre.AT and value is sre.AT_END_STRING


def _empty(items: Items) -> bool:
    """Whether all of them can match without a character."""
    for op, value in items:
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            if value[0] and not _empty(list(value[2])):
                return False
        elif op is sre.SUBPATTERN:
            if not _empty(list(value[3])):
                return False
        elif op is sre.BRANCH:
            if not any(_empty(list(branch)) for branch in value[1]):
                return False
        elif op not in (sre.AT, sre.ASSERT, sre.ASSERT_NOT, sre.GROUPREF):
            return False
    return True


def _first(items: Items, flags: int) -> frozenset[int]:
    """What can come first, of the first 256 characters."""
    found: frozenset[int] = frozenset()
    for item in items:
        op, value = item
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            found |= _first(list(value[2]), flags)
        elif op is sre.SUBPATTERN:
            found |= _first(list(value[3]), flags)
        elif op is sre.BRANCH:
            found |= frozenset().union(*(_first(list(each), flags) for each in value[1]))
        elif op not in (sre.AT, sre.ASSERT, sre.ASSERT_NOT, sre.GROUPREF):
            found |= _one(op, value, flags)
        if not _empty([item]):
            break
    return found


def _one(op: Any, value: Any, flags: int) -> frozenset[int]:
    if op is sre.LITERAL:
        folded = {ord(chr(value).lower()), ord(chr(value).upper())}
        return frozenset(folded if flags & re.IGNORECASE else {value})
    if op is sre.NOT_LITERAL:
        return ALL - {value}
    if op is sre.RANGE:
        return frozenset(range(value[0], min(value[1], 255) + 1))
    if op is sre.CATEGORY:
        what = {"WORD": r"\w", "DIGIT": r"\d", "SPACE": r"\s"}
        name = str(value).removeprefix("CATEGORY_")
        known = re.compile(what[name.removeprefix("UNI_").removeprefix("NOT_")])
        matched = frozenset(n for n in ALL if known.match(chr(n)))
        return ALL - matched if "NOT_" in name else matched
    if op is sre.IN:
        found = frozenset().union(
            *(_one(*each, flags) for each in value if each[0] is not sre.NEGATE)
        )
        return ALL - found if value[0][0] is sre.NEGATE else found
    assert op is sre.ANY, op
    return ALL
