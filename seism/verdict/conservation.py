"""Nothing is lost: each request of the load, and each perturbation, is in a cell.

A request of the load is in the cell of its route under each planned perturbation in whose time or
aftershock it ran, or in a control run. One that is in neither is an error of Seism.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from seism.model import DOWN
from seism.verdict.client_view import ClientAnswer
from seism.verdict.result import Cell
from seism.verdict.step import OUTLASTS
from seism.verdict.timeline import Segment, Timeline, route_of
from seism.verdict.unused_backend import LEAST, asks
from seism_middleware.contract import RequestEnded

OF_A_STEP = ("during", "after")


def unplaced(timeline: Timeline, cells: Iterable[Cell]) -> list[str]:
    """One line for each kind of request, or perturbation, that should be in a cell and is not.

    To be asked once every step that has begun is judged.
    """
    known = {(cell.route, cell.perturbation): cell.requests for cell in cells}
    placed: Counter[tuple[str, str]] = Counter()
    lines = []
    outside = 0
    # Locust sends before the first phase: its users warm up.
    flowing = any(segment.phase.flowing for segment in timeline.segments[:1])
    mixed: dict[str, list[str]] = defaultdict(list)
    for (_, index), merged in timeline.mixed.items():
        for request in merged.requests:
            mixed[request.request].append(timeline.plan[index].name)
    for segment, request in _in_phases(timeline):
        if segment is not None:
            names = mixed.get(request.request) or _steps(timeline, segment)
            placed.update((route_of(request), name) for name in names)
        elif isinstance(request, ClientAnswer) and not flowing:
            outside += 1
    if outside:
        lines.append(f"{_count(outside, 'request')} of the load in no phase")
    for (route, step), count in placed.items():
        missing = count - known.get((route, step), 0)
        if missing > 0:
            lines.append(f"{_count(missing, 'request')} in no cell: {route} under {step}")
    strays = Counter(_strays(timeline))
    lines += [
        f"{_count(count, 'perturbation')} in no cell: {what}" for what, count in strays.items()
    ]
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def why_never_fired(timeline: Timeline, index: int) -> str:
    """Why the planned perturbation at ``index`` had no effect, as far as it is known."""
    planned = timeline.plan[index]
    backend, during = planned.backend, timeline.find("during", index)
    earlier = _unused_since(timeline, index, backend)
    if earlier:
        return f"the app had not used {backend} since {earlier}"
    if planned.type == DOWN:
        return f"no request is known to have tried to connect to {backend} while it lasted"
    if during is None or not during.requests:
        return "no request ran while it lasted"
    sent = [each.proxies.get(backend, {}) for each in during.reached]
    if len(sent) > 1 and sent[0] == sent[-1]:
        return f"nothing was sent to {backend} while it lasted"
    return f"it applied to nothing that was sent to {backend} while it lasted"


def _unused_since(timeline: Timeline, index: int, backend: str) -> str:
    """The earlier perturbation of ``backend`` after which no request asked it until this one was
    over, as a breaker's that stays open; empty if there is none.
    """
    during, silent = timeline.find("during", index), 0
    if during is None or not backend:
        return ""
    for segment in reversed(
        [each for each in timeline.segments if each.phase.at <= during.phase.at]
    ):
        phase = segment.phase
        if phase.phase == "warmup" and phase.step is not None:
            return ""  # the app was restarted
        if any(asks(request, backend) for request in segment.requests):
            if silent < LEAST or phase.phase not in OF_A_STEP or phase.step is None:
                return ""
            step = timeline.plan[phase.step]
            return step.name if phase.step != index and step.backend == backend else ""
        silent += len(segment.requests)
    return ""


def _in_phases(timeline: Timeline) -> Iterator[tuple[Segment | None, RequestEnded]]:
    """Each request, with the phase that it belongs to, if there is one."""
    phases = {
        request.request: segment for segment in timeline.segments for request in segment.requests
    }
    return ((phases.get(key), request) for key, request in timeline.requests.items())


def _steps(timeline: Timeline, segment: Segment) -> list[str]:
    """The planned perturbations in whose cells the requests of ``segment`` belong; none: a control
    run.
    """
    plan = timeline.plan
    phase = segment.phase
    if phase.phase in OF_A_STEP and phase.step is not None:
        return [plan[phase.step].name]
    return [plan[step].name for step in phase.active]


def _strays(timeline: Timeline) -> Iterator[str]:
    """Perturbations of planned toxics that began outside of their time."""
    plan = timeline.plan
    targets = [set(step.targets) for step in plan]
    everything = {target for each in targets for target in each}
    outlasting: set[tuple[str, str]] = set()
    for segment in timeline.segments:
        phase = segment.phase
        if phase.phase in OF_A_STEP and phase.step is not None:
            mine = targets[phase.step]
            if OUTLASTS in plan[phase.step].types:
                outlasting |= mine
        elif phase.step is not None and phase.step < len(plan) and plan[phase.step].probe:
            mine = targets[phase.step]  # it empties the pools before it asks its question
        elif phase.phase == "mixed":
            continue  # of its stretches, whatever lasts in them
        else:
            mine = set()
        for record in segment.perturbations:
            target = record.proxy, record.toxic
            if target in everything and target not in mine | outlasting:
                yield f"{record.toxic} on {record.proxy} in the phase {phase.phase}"
