"""A run once more, from its journal: the same perturbations in the same order.

What chance decided is not left to chance again. A perturbation that had a toxicity below
1, or was for some connections only, becomes exact ones: for each route that it hit, the
occurrence of the route and the exchange of the request (``Attribution.send``) that were hit first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from seism.errors import ConfigurationError
from seism.experiment.config import Load, Planned
from seism.journal import Entry
from seism.model import PlannedStep
from seism.options import build
from seism.verdict.timeline import Timeline, load_route, route_of
from seism.verdict.timeline import build as timeline_of

_KEYS = {field.name for field in fields(Planned)}


def seed_and_plan(entries: Iterable[Entry], load: Load) -> tuple[int, list[Planned]]:
    """The seed of a journal and what is to be perturbed.

    Raises ConfigurationError for a journal that is none, or without a plan, and for routes
    that ``load`` does not have.
    """
    timeline = timeline_of(entries)
    plan = timeline.plan
    if not plan:
        raise ConfigurationError("the journal has no plan: only an experiment can be replayed")
    planned: list[Planned] = []
    for index, step in enumerate(plan):
        if step.partner is not None:
            continue  # a sweep's pair, which no [[perturbation]] can say
        one = _planned(step)
        planned += _exact(timeline, index, one, load) if _by_chance(one) else [one]
    planned.sort(key=lambda one: one.at is not None)  # those of the mixed load are the last
    return timeline.manifest.seed, planned


def only(planned: Sequence[Planned], names: Sequence[str]) -> list[Planned]:
    """Those called ``names``, in the plan's order. Raises ConfigurationError for unknown ones."""
    from seism.options import nearest

    known = [one.name for one in planned]
    for each in names:
        if each not in known:
            raise ConfigurationError(f"no perturbation {each!r} in the plan{nearest(each, known)}")
    return [one for one in planned if one.name in names] if names else list(planned)


def of_route(load: Load, planned: Sequence[Planned], route: str) -> tuple[Load, list[Planned]]:
    """The load of ``route``, a pattern or a ``[[load.route]]``, and what can be planned with it.

    Raises ConfigurationError if ``load`` has no such route.
    """
    from seism.options import nearest

    names = [f"{each.method} {each.path}" for each in load.route]
    chosen = [
        each
        for each, name in zip(load.route, names, strict=True)
        if name == route or load_route(route, [name])
    ]
    if not chosen:
        raise ConfigurationError(f"--route: the load has no {route!r}{nearest(route, names)}")
    kept = {"", *(f"{each.method} {each.path}" for each in chosen)}
    return replace(load, route=tuple(chosen)), [one for one in planned if one.route in kept]


def _planned(step: PlannedStep) -> Planned:
    values = {key: value for key, value in step.to_dict().items() if key in _KEYS and value != ""}
    return build(Planned, values, f"plan: {step.name}")


def _by_chance(planned: Planned) -> bool:
    return not planned.exact and (planned.toxicity < 1 or bool(planned.connections))


def _exact(timeline: Timeline, index: int, planned: Planned, load: Load) -> list[Planned]:
    """What ``planned`` came to in the journal, by route, occurrence and exchange."""
    segment = timeline.find("during", index)
    if segment is None:
        return []
    records = {
        record.perturbation for record in segment.perturbations
        if record.proxy == planned.backend and record.toxic == planned.toxic
    }  # fmt: skip
    routes = [request.name for request in load.requests]
    found: dict[tuple[str, int], Planned] = {}
    for route, requests in segment.by_route().items():
        for occurrence, request in enumerate(requests, 1):
            for attribution in timeline.attributions.get(request.request, ()):
                if attribution.perturbation not in records or not attribution.exact:
                    continue
                sent = load_route(route, routes)
                if sent is None:
                    raise ConfigurationError(f"the load has no route like {route_of(request)!r}")
                turn = max(attribution.send, 1)
                found.setdefault(
                    (sent, turn),
                    replace(
                        planned, name=f"{planned.name}: {sent} #{turn}", toxicity=1.0,
                        connections=0, route=sent, turn=turn, occurrence=min(occurrence, 1000),
                        at=None, lasting=0,
                    ),
                )  # fmt: skip
    return list(found.values())
