"""How much work a call does, counted: the same on any machine, under any load.

A step is a line of ``seism`` that runs, or one look at the length of a ``CountedBytes``, which
finds what runs in C (``sum(map(len, ...))``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import seism

HERE = seism.__path__[0]


class Steps:
    """Counts while it is entered."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Steps:
        self._before, CountedBytes.steps = sys.gettrace(), self
        sys.settrace(self._called)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.settrace(self._before)
        CountedBytes.steps = None

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._stepped if frame.f_code.co_filename.startswith(HERE) else None

    def _stepped(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += 1
        return self._stepped


class CountedBytes(bytes):
    """Bytes whose length is not free."""

    steps: Steps | None = None

    def __len__(self) -> int:
        if self.steps is not None:
            self.steps.count += 1
        return super().__len__()


def growth(act: Callable[[int], Callable[[], object]], size: int) -> float:
    """How many times the work is done for ``2 * size`` that is done for ``size``.

    ``act`` prepares for a size, and returns what is counted.
    """
    counts = []
    for each in (size, 2 * size):
        counted = act(each)
        with Steps() as steps:
            counted()
        counts.append(steps.count)
    assert counts[0] > 0
    return counts[1] / counts[0]
