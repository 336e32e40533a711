"""New connections are reset as soon as they are accepted; the backend is not dialled.

A client sees its connect succeed and then a reset. For a connect that fails, disable the
proxy: a listening socket accepts in the kernel, before anyone is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.toxics.base import RESET, Began, Commands, Ended, Reset, Rng, Stage, Toxic


@dataclass(frozen=True, slots=True)
class Refuse(Toxic):
    """Reset each new connection (RST) at once."""

    type: ClassVar[str] = "refuse"
    connecting: ClassVar[bool] = True

    def stage(self, rng: Rng) -> Stage:
        return _Refusal()


class _Refusal(Stage):
    holds_dial = True

    def started(self, now: float) -> Commands:
        yield Began()
        yield Ended(RESET)
        yield Reset()
