"""Nothing happens: to see what a toxic costs that has no effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.toxics.base import Rng, Stage, Toxic


@dataclass(frozen=True, slots=True)
class Noop(Toxic):
    """Let everything through as it is; it is there, and never has an effect."""

    type: ClassVar[str] = "noop"

    def stage(self, rng: Rng) -> Stage:
        return Stage()
