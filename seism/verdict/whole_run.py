"""What concerns the run as a whole: how it ended, its mixed load, how good its attributions are."""

from __future__ import annotations

from collections.abc import Iterator

from seism.journal import INTERRUPTED
from seism.model import DOWN
from seism.verdict.accounting import action_lines, unseen, unseen_of_all
from seism.verdict.alone import restless
from seism.verdict.timeline import Timeline
from seism_middleware.contract import PerturbationBegan


def load_findings(timeline: Timeline) -> Iterator[str]:
    """What concerns the mixed load, or a load that did not count by phase."""
    plan = timeline.plan
    for segment in timeline.segments:
        if segment.phase.phase == "mixed":
            active = [plan[index] for index in segment.phase.active]
            when = f"mixed load: during {' and '.join(each.name for each in active) or 'nothing'}"
            yield from action_lines(segment, when)
            missed = 0 if any(each.front for each in active) else unseen(segment)
            if missed:
                yield f"{when} {missed} requests got no response, and no worker ever saw them"
    if not any(step.front for step in plan) and (missed := unseen_of_all(timeline)):
        yield f"{missed} requests got no response, and no worker ever saw them"


def end_findings(timeline: Timeline) -> Iterator[str]:
    """Which limit stopped it."""
    if timeline.stopped and timeline.stopped != INTERRUPTED:
        yield f"the run was stopped: {timeline.stopped}"


def incomplete(timeline: Timeline) -> str:
    """Why the journal has no whole run, where no limit stopped it; empty if it has."""
    if timeline.stopped:
        return "the run was interrupted" if timeline.stopped == INTERRUPTED else ""
    return "" if timeline.complete else "the journal ends before the plan does"


def attribution_warnings(timeline: Timeline) -> Iterator[str]:
    """What makes the attributions of this run less than complete."""
    for blind in sorted({what for worker in timeline.workers for what in worker.blind}):
        yield f"the app has loaded {blind}: perturbations cannot be attributed through it"
    steady = timeline.find("steady")
    if steady is not None:
        sent = {each.backend for request in steady.requests for each in request.sends}
        for backend in sorted(restless(steady.reached, steady.requests) - sent):
            yield (
                f"{backend}: somebody talks to it while no request runs, and no request is seen to "
                "do so: what is perturbed there cannot be attributed"
            )
    attributed = timeline.attributed
    alone = [
        key
        for key, record in timeline.perturbations.items()
        if key not in attributed and key not in timeline.of_none and _took_bytes(timeline, record)
    ]
    if alone:
        yield f"{len(alone)} of {len(timeline.perturbations)} perturbations hit no known request"


def census_warnings(timeline: Timeline) -> Iterator[str]:
    """What the censuses of this run could not tell; nothing is judged by those of a perturbation,
    in which the load goes on.
    """
    for worker in sorted(
        worker
        for segment in timeline.segments
        if segment.phase.phase != "during"
        for worker, census in segment.censuses.items()
        if any(row.unsure for row in census.connections)
    ):
        yield (
            f"worker {worker} was busy at a census: whether a connection that stays open is a "
            f"leak is unsure"
        )


def unjudged_warnings(timeline: Timeline) -> Iterator[str]:
    """Perturbations of the mixed load that had no aftershock of their own."""
    for index, step in enumerate(timeline.plan):
        after = timeline.mixed.get(("after", index))
        if after is not None and not after.requests:
            yield (
                f"{step.name}: another one began with its end, so that nothing is known "
                "of its aftershock"
            )


def _took_bytes(timeline: Timeline, record: PerturbationBegan) -> bool:
    """Whether bytes of a client were affected, so that somebody must have sent them."""
    end = timeline.ends.get(record.perturbation)
    if record.type == DOWN or record.offset is None or end is None or end.offset is None:
        return False
    return end.offset > record.offset
