"""The plan: what is perturbed in which order, decided by the seed alone."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seism.experiment import late
from seism.experiment.config import REQUESTS, Experiment, Load, Planned, Random, clash, overlap
from seism.experiment.perturbation import COLD_START_S
from seism.model import DOWN, FRONT, PlannedPartner, PlannedStep, ToxicSpec
from seism.options import part
from seism.rng import Seed

EXACT_AFTER = 8
"""Requests after one exact perturbation: more than may still fail by default."""


ANSWER_SECONDS = 0.05
"""Expected of a request that nothing delays."""
GIVES_UP_SECONDS = 1.0
"""Expected of a request to a backend that is slow or silent: the app's own deadline."""
START_SECONDS = 2.0
"""Expected of an app's start."""
STEP_SECONDS = 1.5
"""Expected between phases: counts of connections, attributions, pools that recover."""


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
    probe: bool = False
    """It is one of a sweep, and may find nothing to perturb."""

    @property
    def toxic(self) -> str:
        """The toxic's name on the proxy, as perturbation records carry it."""
        return self.planned.toxic

    def recorded(self) -> PlannedStep:
        """As the journal has it."""
        planned, partner = self.planned, self.partner
        spec = part(ToxicSpec, planned)
        step = PlannedStep(
            dataclasses.replace(spec, stream="") if planned.type == DOWN else spec,
            planned.backend,
            self.toxic,
            self.during,
            self.after,
            self.front,
            PlannedPartner(partner.backend, partner.type, partner.toxic) if partner else None,
            planned.route,
            planned.occurrence if planned.route else 0,
            probe=self.probe,
            cold_start=planned.cold_start,
        )
        if planned.at is None and not planned.lasting:
            return step
        return dataclasses.replace(step, at=planned.at, lasting=planned.lasting, unit=planned.unit)

    def to_dict(self) -> dict[str, Any]:
        """The same, for JSON."""
        return self.recorded().to_dict()


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the mixed load, in which the same perturbations last."""

    begins: tuple[Step, ...]
    """What begins before it."""
    ends: tuple[Step, ...]
    """What ends before it."""
    active: tuple[Step, ...]
    length: float
    """In the schedule's unit; requests are those of each worker."""


def make(experiment: Experiment, seed: int) -> list[Step]:
    """The steps in order; the same for the same file and seed.

    Those with a phase of their own come first, shuffled, then the mixed load's.
    """
    planned = [each for each in experiment.planned() if each.at is None]
    Seed(seed).stream("plan").shuffle(planned)
    # Those last that are sized by what the app does while a backend is slow.
    planned.sort(key=late.is_sized)
    mixed = [each for each in experiment.planned() if each.at is not None]
    if experiment.random is not None:
        mixed += at_random(
            experiment.random, experiment.random_mix(), experiment.limits.at_most, seed, mixed
        )
    planned += sorted(mixed, key=lambda each: each.at or 0)
    return in_order(planned, experiment.load, front=experiment.front is not None)


def expected_seconds(steps: Sequence[Step], load: Load) -> float:
    """How long a run of ``steps`` takes, for an app that answers and gives up as expected."""
    amounts = load.amounts
    if load.locust is not None:
        return amounts.steady + amounts.again + len(steps) * (amounts.during + amounts.after)
    calm = load.pause_ms / 1000 + ANSWER_SECONDS
    seconds = (amounts.steady + amounts.again) * calm
    for step in steps:
        slow = {"latency": step.planned.attributes.get("latency", 0) / 1000}
        extra = slow.get(step.planned.type, GIVES_UP_SECONDS if _is_silent(step) else 0)
        delayed = amounts.during if step.planned.type == "latency" else 1
        lasts = amounts.during * calm + delayed * min(extra, GIVES_UP_SECONDS)
        cold = START_SECONDS + COLD_START_S if step.planned.cold_start else 0
        seconds += max(lasts, step.planned.lasting, cold)
        seconds += amounts.after * calm + STEP_SECONDS
    return seconds


def _is_silent(step: Step) -> bool:
    return step.planned.type in {"timeout", "half_open", "blackhole"}


def at_random(
    options: Random,
    mix: Sequence[tuple[Planned, int]],
    at_most: int,
    seed: int,
    scheduled: Sequence[Planned] = (),
) -> list[Planned]:
    """What ``[random]`` comes to beside what is ``scheduled``.

    What would be one too many at its time is left out. All draws are made whatever comes of
    them, so that the k-th is always the k-th.
    """
    draws = Seed(seed if options.seed is None else options.seed).stream("random")
    weights = [weight for _, weight in mix]
    found: list[Planned] = []
    at = 0.0
    for number in itertools.count(1):
        at += draws.expovariate(1 / options.every)
        ((chosen, _),) = draws.choices(mix, weights)
        lasting = options.lasting * (0.5 + draws.random())
        if at >= options.length:
            return found
        if options.unit == REQUESTS:
            begin, lasting = float(round(at)), float(max(1, round(lasting)))
        else:
            begin, lasting = round(at, 3), round(lasting, 3)
        one = dataclasses.replace(
            chosen, name=f"{chosen.name} {number}", at=begin, lasting=lasting, unit=options.unit
        )
        others = [each for each in (*scheduled, *found) if overlap(each, one)]
        if len(others) < at_most and not any(clash(each, one) for each in others):
            found.append(one)
    raise AssertionError("the count has no end")


def stretches(steps: Sequence[Step], after: float) -> list[Stretch]:
    """The mixed load of the scheduled ``steps``; ``after`` is as long as the aftershock of
    the last.
    """
    spans = [(step.planned.at or 0.0, step.planned.end, step) for step in steps]
    times = sorted({0.0, *(begin for begin, _, _ in spans), *(end for _, end, _ in spans)})
    lengths = [later - now for now, later in itertools.pairwise(times)] + [after]
    return [
        Stretch(
            tuple(step for begin, _, step in spans if begin == now),
            tuple(step for _, end, step in spans if end == now),
            tuple(step for begin, end, step in spans if begin <= now < end),
            length,
        )
        for now, length in zip(times, lengths, strict=True)
    ]


def in_order(planned: Sequence[Planned], load: Load | None, *, front: bool = False) -> list[Step]:
    """The steps of ``planned`` as they stand; ``front``: there is a proxy of that name."""
    return [
        Step(index, one, *_requests(one, load), front and one.backend == FRONT and not one.exact)
        for index, one in enumerate(planned)
    ]


def _requests(planned: Planned, load: Load | None) -> tuple[int, int]:
    """How many are sent while it lasts, and after it, where that is known before."""
    if planned.exact:
        return 1, EXACT_AFTER
    if load is None or load.locust is not None:
        return 0, 0
    if planned.at is None:
        return load.during * load.workers, load.after * load.workers
    during = planned.lasting if planned.unit == REQUESTS else 0
    return int(during) * load.workers, load.after * load.workers
