"""The connection is closed once so many bytes have passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import Commands, Rng, Stage, Toxic
from seism.toxics.limit import LARGEST, Limit


@dataclass(frozen=True, slots=True)
class LimitData(Toxic):
    """Let exactly so many bytes through in this direction, then close both sides."""

    type: ClassVar[str] = "limit_data"

    bytes: int = option(
        0, help="how many bytes pass from when toxic and connection meet; 0: closed on the first",
        unit="B", minimum=0, maximum=LARGEST,
    )  # fmt: skip

    def stage(self, rng: Rng) -> Stage:
        return _Counter(self)


class _Counter(Limit):
    def __init__(self, toxic: LimitData) -> None:
        super().__init__(bytes=toxic.bytes)

    def updated(self, toxic: LimitData, now: float) -> Commands:
        return self.changed(bytes=toxic.bytes)
