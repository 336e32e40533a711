"""How much work a call does, counted: the same on any machine, under any load.

Others use the machine, so time measures nothing. Two things are counted, and their sum is the work:

- steps: the lines of Python that run in a folder (``sys.settrace``), which is what loops cost, and
  looks at the length of a counted value, which find what runs in C (``sum(map(len, ...))``);
- the bytes that operators and methods of ``bytes`` and ``bytearray`` copy or search, divided by
  ``BYTES``. A slice, a sum or a copy of a counted value is counted, too.

What ``re`` does is not seen: ``tests/protocols/patterns.py`` looks at the patterns themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import seism

HERE = seism.__path__[0]
BYTES = 64
"""Bytes that are copied or searched for the price of one step."""


class Work:
    """Counts while it is entered."""

    current: Work | None = None

    def __init__(self, folder: str = HERE) -> None:
        """``folder``: where the code is whose lines count."""
        self._folder = folder
        self.steps = 0
        self.touched = 0

    @property
    def count(self) -> int:
        """The sum so far."""
        return self.steps + self.touched // BYTES

    def __enter__(self) -> Work:
        self._before, Work.current = (sys.gettrace(), Work.current), self
        sys.settrace(self._called)
        return self

    def __exit__(self, *exception: object) -> None:
        tracing, Work.current = self._before
        sys.settrace(tracing)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._stepped if frame.f_code.co_filename.startswith(self._folder) else None

    def _stepped(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.steps += 1
        return self._stepped


def _touch(*sizes: int) -> None:
    if Work.current is not None:
        Work.current.touched += sum(sizes)


def _look() -> None:
    if Work.current is not None:
        Work.current.steps += 1


def _found(size: int, at: int, end: int | None, start: int) -> None:
    stop = size if end is None else min(end, size)
    _touch(max(0, (stop if at < 0 else at) - start))


class CountedBytes(bytes):
    """``bytes`` whose copies and searches are counted, and looks at their length."""

    def __len__(self) -> int:
        _look()
        return super().__len__()

    def __add__(self, other: Any) -> CountedBytes:
        _touch(super().__len__(), len(other))
        return CountedBytes(bytes(self) + other)

    def __radd__(self, other: Any) -> CountedBytes:
        _touch(super().__len__(), len(other))
        return CountedBytes(other + bytes(self))

    def __getitem__(self, key: Any) -> Any:
        value = bytes.__getitem__(self, key)
        if isinstance(value, int):
            return value
        _touch(len(value))
        return CountedBytes(value)

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        at = super().find(sub, start, super().__len__() if end is None else end)
        _found(super().__len__(), at, end, start)
        return at

    def __contains__(self, item: Any) -> bool:
        _touch(super().__len__())
        return super().__contains__(item)


class CountedArray(bytearray):
    """``bytearray`` likewise."""

    def __len__(self) -> int:
        _look()
        return super().__len__()

    def __iadd__(self, other: Any) -> CountedArray:
        _touch(len(other))
        self.extend(other)
        return self

    def __add__(self, other: Any) -> CountedArray:
        _touch(super().__len__(), len(other))
        return CountedArray(bytearray(self) + other)

    def __radd__(self, other: Any) -> CountedArray:
        _touch(super().__len__(), len(other))
        return CountedArray(bytearray(other) + bytearray(self))

    def __getitem__(self, key: Any) -> Any:
        value = bytearray.__getitem__(self, key)
        if isinstance(value, int):
            return value
        _touch(len(value))
        return CountedArray(value)

    def __bytes__(self) -> bytes:
        _touch(super().__len__())
        return CountedBytes(bytearray(self))

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        at = super().find(sub, start, super().__len__() if end is None else end)
        _found(super().__len__(), at, end, start)
        return at

    def __contains__(self, item: Any) -> bool:
        _touch(super().__len__())
        return super().__contains__(item)


def growth(act: Callable[[int], Callable[[], object]], size: int) -> float:
    """How many times the work is done for ``2 * size`` that is done for ``size``.

    ``act`` prepares for a size, and returns what is counted.
    """
    counts = []
    for each in (size, 2 * size):
        counted = act(each)
        with Work() as work:
            counted()
        counts.append(work.count)
    assert counts[0] > 0
    return counts[1] / counts[0]
