"""Counts what a codec does with bytes, so that a test can say that work grows with the input.

Time is no measure on a machine that others use. Two things are counted instead, and their sum is
the work:

- the lines of Python that run in ``seism/protocols`` (``sys.settrace``), which is what loops cost;
- the bytes that operators and methods of ``bytes`` and ``bytearray`` copy or search, divided by
  ``BYTES``. The chunks that a codec gets, and the buffers that it keeps, are of the counting types
  below; a slice, a sum or a copy of a counted value is counted, too.

What ``re`` does is not seen. ``ambiguous`` finds, in a pattern as ``re`` parses it, a repetition
that can give up what the part behind it could take as well, or that can take the same bytes in two
ways: only such a pattern tries bytes more than once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from types import FrameType
from typing import Any

import seism.protocols
from seism.errors import ProtocolError
from seism.protocols.base import Codec
from seism.protocols.framed import Framed
from seism.protocols.stream import StreamCodec
from seism_middleware.contract import UPSTREAM

HERE = str(Path(seism.protocols.__file__).parent)
BYTES = 64
"""Bytes that are copied or searched for the price of one line."""
Turns = Sequence[tuple[str, bytes]]


class Work:
    """The sum so far."""

    lines = 0
    touched = 0

    @classmethod
    def total(cls) -> int:
        return cls.lines + cls.touched // BYTES


def _found(data: Any, at: int, end: int | None, start: int) -> None:
    stop = len(data) if end is None else min(end, len(data))
    Work.touched += max(0, (stop if at < 0 else at) - start)


class CountedBytes(bytes):
    """``bytes`` whose copies and searches are counted."""

    def __add__(self, other: Any) -> CountedBytes:
        Work.touched += len(self) + len(other)
        return CountedBytes(bytes(self) + other)

    def __radd__(self, other: Any) -> CountedBytes:
        Work.touched += len(self) + len(other)
        return CountedBytes(other + bytes(self))

    def __getitem__(self, key: Any) -> Any:
        value = bytes.__getitem__(self, key)
        if isinstance(value, int):
            return value
        Work.touched += len(value)
        return CountedBytes(value)

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        at = super().find(sub, start, len(self) if end is None else end)
        _found(self, at, end, start)
        return at

    def __contains__(self, item: Any) -> bool:
        Work.touched += len(self)
        return super().__contains__(item)


class CountedArray(bytearray):
    """``bytearray`` likewise."""

    def __iadd__(self, other: Any) -> CountedArray:
        Work.touched += len(other)
        self.extend(other)
        return self

    def __add__(self, other: Any) -> CountedArray:
        Work.touched += len(self) + len(other)
        return CountedArray(bytearray(self) + other)

    def __radd__(self, other: Any) -> CountedArray:
        Work.touched += len(self) + len(other)
        return CountedArray(bytearray(other) + bytearray(self))

    def __getitem__(self, key: Any) -> Any:
        value = bytearray.__getitem__(self, key)
        if isinstance(value, int):
            return value
        Work.touched += len(value)
        return CountedArray(value)

    def __bytes__(self) -> bytes:
        Work.touched += len(self)
        return CountedBytes(bytearray(self))

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        at = super().find(sub, start, len(self) if end is None else end)
        _found(self, at, end, start)
        return at

    def __contains__(self, item: Any) -> bool:
        Work.touched += len(self)
        return super().__contains__(item)


def _line(frame: FrameType, event: str, _: Any) -> Any:
    if event == "line":
        Work.lines += 1
    return _line


def _call(frame: FrameType, _: str, __: Any) -> Any:
    return _line if frame.f_code.co_filename.startswith(HERE) else None


def _streams(codec: Any) -> list[Any]:
    """What holds the buffers of either style of codec."""
    if isinstance(codec, Framed):
        return list(codec._cutters.values())
    assert isinstance(codec, StreamCodec)
    return [codec.upstream, codec.downstream]


def work(codec: Codec, turns: Turns, skipped: int = 0) -> int:
    """What ``turns`` cost; of every ``skipped`` exchanges, one does not reach its server.

    The buffers of the codec are exchanged for counting ones before it begins.
    """
    for stream in _streams(codec):
        stream.buffer = CountedArray()
    before, tracing, asked = Work.total(), sys.gettrace(), 0
    sys.settrace(_call)
    try:
        for stream, data in turns:
            if codec.opaque:
                break
            for piece in codec.receive(stream, CountedBytes(data)):
                exchange = piece.exchange
                if stream == UPSTREAM and piece.first and exchange is not None:
                    asked += 1
                    if skipped and asked % skipped == 0 and exchange.replies:
                        codec.skip(exchange)
            codec.holds(stream)
    except ProtocolError:
        pass
    finally:
        sys.settrace(tracing)
    return Work.total() - before


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
