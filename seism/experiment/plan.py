"""The plan: what is perturbed in which order, decided by the seed alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seism.experiment.config import Experiment, Load, Planned
from seism.model import DOWN, FRONT
from seism.rng import Seed

EXACT_AFTER = 8
"""Requests after one exact perturbation: more than may still fail by default."""


@dataclass(frozen=True, slots=True)
class Step:
    """One planned perturbation at its place."""

    index: int
    planned: Planned
    during: int
    """Requests while it lasts, all workers together."""
    after: int
    front: bool = False
    """It is done to the clients' side of the app, not to a backend."""
    partner: Planned | None = None
    """What is perturbed at the same time."""

    @property
    def toxic(self) -> str:
        """The toxic's name on the proxy, as perturbation records carry it."""
        return self.planned.toxic

    def to_dict(self) -> dict[str, Any]:
        planned = self.planned
        values: dict[str, Any] = {
            "name": planned.name,
            "backend": planned.backend,
            "type": planned.type,
            "toxic": self.toxic,
            "stream": "" if planned.type == DOWN else planned.stream,
            "toxicity": planned.toxicity,
            "attributes": planned.attributes,
            "during": self.during,
            "after": self.after,
        }
        if self.front:
            values["front"] = True
        if self.partner is not None:
            values["partner"] = {
                "backend": self.partner.backend,
                "type": self.partner.type,
                "toxic": self.partner.toxic,
            }
        if planned.match is not None:
            values["match"] = dataclasses.asdict(planned.match)
        for key in ("connections", "exchange", "turn", "route"):
            if getattr(planned, key):
                values[key] = getattr(planned, key)
        if planned.route:
            values["occurrence"] = planned.occurrence
        return values


def make(experiment: Experiment, seed: int) -> list[Step]:
    """The steps in order; the same for the same file and seed."""
    planned = list(experiment.planned())
    Seed(seed).stream("plan").shuffle(planned)
    return in_order(planned, experiment.load, front=experiment.front is not None)


def in_order(planned: Sequence[Planned], load: Load | None, *, front: bool = False) -> list[Step]:
    """The steps of ``planned`` as they stand; ``front``: there is a proxy of that name."""
    workers = load.workers if load else 0
    during, after = (load.during, load.after) if load else (0, 0)
    return [
        Step(index, one, 1, EXACT_AFTER)
        if one.exact
        else Step(index, one, during * workers, after * workers, front and one.backend == FRONT)
        for index, one in enumerate(planned)
    ]
