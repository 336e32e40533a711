"""The place of one stage in one link's chain."""

from __future__ import annotations

from collections.abc import Callable

from seism.proxy.perturbation import Perturbation
from seism.proxy.rule import Rule
from seism.proxy.timers import Timer, Timers
from seism.rng import Journalled
from seism.toxics.base import Stage

MAX_ORDER = 64
"""What is told of the order of questions and replies, per perturbation; less is only vaguer."""


class Slot:
    """A stage, its timer, and its perturbation while there is one."""

    __slots__ = ("_order", "_rng", "_timer", "perturbation", "reached", "rule", "stage")

    def __init__(self, rule: Rule, rng: Journalled) -> None:
        self.rule = rule
        self._rng = rng
        self.stage: Stage = rule.toxic.stage(rng)
        self.stage.common = rule.common
        self.perturbation: Perturbation | None = None
        self.reached = 0
        """The end, in the client's stream, of what the stage has been given."""
        self._timer: Timer | None = None
        self._order: dict[int, int] = {}

    def noted(self, asked: int, answers: int) -> None:
        """The client's bytes from ``asked`` on are answered at ``answers`` or later."""
        if self.perturbation is not None and (asked in self._order or len(self._order) < MAX_ORDER):
            self._order[asked] = answers

    def forget(self) -> None:
        """What was noted means nothing."""
        self._order = {}

    def wake(self, timers: Timers, when: float, due: Callable[[Slot], None]) -> None:
        """Call ``due`` with this slot at ``when``, and not at the time set before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timers.at(when, lambda: due(self))

    def end(self, outcome: str) -> None:
        """End the perturbation, if there is one."""
        if self.perturbation is not None:
            self.perturbation.end(
                outcome,
                self.reached,
                self._rng.draws,
                self._rng.take(),
                tuple(self._order),
                tuple(self._order.values()),
            )
            self.perturbation = None
            self._order = {}

    def close(self, outcome: str) -> None:
        """The stage is never called again; ``outcome`` is for a perturbation still open."""
        if self._timer is not None:
            self._timer.cancel()
        self.end(outcome)
