"""What concerns the run as a whole: how it ended, its mixed load, how good its attributions are."""

from __future__ import annotations

from collections.abc import Iterator

from seism.journal import INTERRUPTED
from seism.model import DOWN
from seism.verdict.accounting import action_lines, unseen, unseen_of_all
from seism.verdict.alone import restless
from seism.verdict.consumer import backends
from seism.verdict.result import listed, plural
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
                yield f"{when} {_unseen(missed)}"
    if not any(step.front for step in plan) and (missed := unseen_of_all(timeline)):
        yield _unseen(missed)


def _unseen(missed: int) -> str:
    return f"{plural(missed, 'request')} got no response, and no worker ever saw them"


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
        known = sent | backends(timeline)
        for backend in sorted(restless(steady.reached, steady.requests) - known):
            yield (
                f"{backend}: somebody talks to it while no request runs, and no request is seen to "
                "do so: what is perturbed there cannot be attributed"
            )
    attributed = timeline.attributed
    consumers = {
        each.client
        for segment in timeline.segments
        for look in segment.consumers
        for each in look.consumers
    }
    alone = [
        key
        for key, record in timeline.perturbations.items()
        if key not in attributed
        and key not in timeline.of_none
        and record.client not in consumers
        and _took_bytes(timeline, record)
    ]
    if alone:
        yield f"{len(alone)} of {len(timeline.perturbations)} perturbations hit no known request"


def login_warnings(timeline: Timeline) -> Iterator[str]:
    """Where the load's workers had lost their logins, and logged in again."""
    for segment in timeline.segments:
        logins = (segment.load.logins if segment.load else None) or {}
        again, failed = logins.get("again", {}), logins.get("failed", {})
        step = [segment.phase.step] if segment.phase.step is not None else []
        indices = [i for i in (*step, *segment.phase.active) if i < len(timeline.plan)]
        names = [timeline.plan[index].name for index in indices]
        when = f"{segment.phase.phase} {' and '.join(names)}".rstrip()
        if again:
            why = listed([f"{reason} ({count} times)" for reason, count in sorted(again.items())])
            yield f"{when}: workers of the load were logged out, and logged in again: {why}"
        if failed:
            why = listed([f"{reason} ({count} times)" for reason, count in sorted(failed.items())])
            yield f"{when}: logins of the load failed: {why}"


def census_warnings(timeline: Timeline) -> Iterator[str]:
    """What the censuses of this run could not tell."""
    for worker in sorted(
        worker
        for segment in timeline.segments
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
