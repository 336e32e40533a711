"""Threads, tasks and greenlets that an exception has ended, and whether others took their place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from seism.verdict.result import AMBER, ENDED, GREEN, RED, HarmFinding
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Segment, Timeline
from seism_middleware.contract import OVERLAP, BackgroundEnded

Ended = tuple[str, BackgroundEnded]
"""(Worker, record)."""


def ends(step: StepWindow) -> Iterator[HarmFinding]:
    """What ended in one step: one finding for each worker, name and exception."""
    found: dict[tuple[str, tuple[str, str, str]], list[BackgroundEnded]] = {}
    for worker, record in step.timeline.background_ends:
        if step.began <= record.at < step.over:
            found.setdefault((worker, _kind(record)), []).append(record)
    usual = {_kind(record) for _, record in without_perturbation(step.timeline)} if found else set()
    for (worker, kind), records in found.items():
        colour, what = _outcome(step, worker, records[0], kind in usual)
        if colour:
            yield _finding(step, worker, records, colour, what)


def without_perturbation(timeline: Timeline) -> Iterator[Ended]:
    """What ended in the control runs, and before any perturbation."""
    steps = [StepWindow.of(timeline, index) for index in range(len(timeline.plan))]
    windows = [(step.began, step.over) for step in steps if step.ran]
    for worker, record in timeline.background_ends:
        if not any(began <= record.at < over for began, over in windows):
            yield worker, record


def lines(timeline: Timeline) -> Iterator[str]:
    """What ended without any perturbation, one line for each name and exception."""
    found = Counter(_kind(record) for _, record in without_perturbation(timeline))
    for (what, name, exception), count in found.items():
        times = f", {count} times" if count > 1 else ""
        yield f"without any perturbation {exception} ended the {what} {name}{times}"


def _kind(record: BackgroundEnded) -> tuple[str, str, str]:
    return record.what, record.name, record.exception


def _outcome(
    step: StepWindow, worker: str, record: BackgroundEnded, usual: bool
) -> tuple[str, str]:
    """(Colour, what became of it); no colour where the control run shows the same."""
    before = _running(step.before, worker, record)
    if before is None:
        before = _usual(step.timeline, record)  # the app has been started again since
    after = _running(step.after, worker, record)
    if before and after is not None and after < before:
        return RED, "nothing has taken its place by the end of the aftershock"
    if usual:
        return "", ""
    if before and after:
        return GREEN, "another one runs in its place"
    return AMBER, "its work is lost"


def _running(segment: Segment, worker: str, record: BackgroundEnded) -> int | None:
    """How many of that name ran at the last census; None where nobody knows."""
    census = segment.censuses.get(worker)
    if census is None or census.background is None:
        return None
    return sum(
        each.count
        for each in census.background
        if (each.what, each.name) == (record.what, record.name)
    )


def _usual(timeline: Timeline, record: BackgroundEnded) -> int:
    """How many of that name a worker had at the end of the control run."""
    steady = timeline.find("steady") or Segment.empty()
    return max((_running(steady, each, record) or 0 for each in steady.censuses), default=0)


def _finding(
    step: StepWindow, worker: str, records: list[BackgroundEnded], colour: str, outcome: str
) -> HarmFinding:
    first = records[0]
    hits = _hits(step, records)
    connection, hit_by = next(iter(hits.items()), ("", ""))
    whose = f", whose connection {connection} {hit_by} had perturbed" if hit_by else ""
    times = f" {len(records)} times" if len(records) > 1 else ""
    where = f" at {first.frames[-1]}" if first.frames else ""
    return HarmFinding(
        kind=ENDED,
        perturbation=step.name,
        colour=colour,
        what=(
            f"{first.exception} ended the {first.what} {first.name} of worker {worker}{times}"
            f"{where}{whose}; {outcome}"
        ),
        evidence="connection" if hit_by else OVERLAP,
        exact=bool(hit_by),
        backend=step.records[hit_by].proxy if hit_by else step.only_backend,
        worker=worker,
        connection=connection,
        hit_by=hit_by,
    )


def _hits(step: StepWindow, records: list[BackgroundEnded]) -> Mapping[str, str]:
    """Connection that an exception came from -> the perturbation of this step on it."""
    held = {connection for record in records for connection in record.connections}
    return {record.client: key for key, record in step.records.items() if record.client in held}
