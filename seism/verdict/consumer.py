"""Consumers: connections whose clients wait for the backend to speak, and whether they come back.

They are known from the control run, by backend and by what they wait for. After a perturbation each
must be there again, on a connection that lives. It is enough that it has subscribed, or asked,
again: nobody sends anything just to see whether it hears.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from seism.journal import Consumer, Consumers
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, Cell
from seism.verdict.rules import Rules
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Segment, Timeline

Kind = tuple[str, str]
"""(Backend, what it waits for)."""


@dataclass(frozen=True, slots=True)
class _Return:
    """How the consumers of one kind are after a perturbation."""

    missing: int
    seconds: float
    """How long after its end the last look was taken, or that which saw all of them again."""
    deaf: int
    """Connections of theirs that are dead, and that nobody has given up."""


def expected(timeline: Timeline) -> Counter[Kind]:
    """How many consumers of each kind the control run has at its end."""
    steady = timeline.find("steady")
    if steady is None or not steady.consumers:
        return Counter()
    return Counter(map(_kind, _alive(steady, steady.consumers[-1], steady.phase.at)))


def backends(timeline: Timeline) -> set[str]:
    """The backends that consumers wait for."""
    return {backend for backend, _ in expected(timeline)}


def missing(timeline: Timeline, index: int) -> bool:
    """Whether a consumer has not come back by the last census after the step at ``index``."""
    step = StepWindow.of(timeline, index)
    wanted = expected(timeline) - _gone(timeline, index)
    return any(_return(step, kind, count).missing for kind, count in wanted.items())


def cells(timeline: Timeline, rules: Rules) -> Iterator[Cell]:
    """One for each kind of consumer and each planned perturbation that ran."""
    wanted = expected(timeline)
    for index in range(len(timeline.plan)) if wanted else ():
        step = StepWindow.of(timeline, index)
        if step.ran and step.after.consumers and (step.is_cold_start or not step.is_probe):
            gone = _gone(timeline, index)
            for kind, count in sorted(wanted.items()):
                yield _cell(step, rules, kind, count - gone[kind], count)


def name_of(kind: Kind) -> str:
    """As reports show it, beside the routes."""
    return f"consumer {kind[1]} on {kind[0]}"


def _cell(step: StepWindow, rules: Rules, kind: Kind, wanted: int, of: int) -> Cell:
    backend, what = kind
    found = _return(step, kind, wanted)
    touched = _is_touched(step, kind)
    reason = note = ""
    if wanted <= 0:
        colour, reason = NOT_COVERED, "it had not come back from an earlier perturbation"
    elif found.missing and _app_ended(step):
        colour, reason = NOT_COVERED, "the app ended, and its consumers with it"
    elif found.missing:
        colour = RED
        many = f"{found.missing} of {of} consumers of `{what}`"
        who = f"the consumer of `{what}`" if of == 1 else many
        why = ": its connection is dead, and it has not noticed" if found.deaf else ""
        reason = (
            f"{who} on {backend} did not come back after {step.name} "
            f"(within {found.seconds:.1f} s){why}"
        )
    elif not touched:
        colour, reason = NOT_COVERED, "nothing that it waits for was perturbed"
    elif found.seconds > rules.recover_slow_s:
        colour = AMBER
        reason = f"there again {found.seconds:.1f} s after its end"
    else:
        colour, note = GREEN, f"there again within {found.seconds:.1f} s after its end"
    return Cell(
        route=name_of(kind),
        perturbation=step.name,
        colour=colour,
        reasons=(reason,) if reason else (),
        requests=0,
        exact=int(touched),
        possible=0,
        notes=(note,) if note else (),
    )


def _return(step: StepWindow, kind: Kind, wanted: int) -> _Return:
    ended = step.after.phase.at
    found = _Return(0, 0.0, 0)
    for look in step.after.consumers:
        there = [each for each in _alive(step.after, look, ended) if _kind(each) == kind]
        deaf = sum(each.deaf for each in look.consumers if _kind(each) == kind)
        found = _Return(max(0, wanted - len(there)), look.at - ended, deaf)
        if not found.missing:
            break
    return found


def _app_ended(step: StepWindow) -> bool:
    """Whether the app itself ended by itself, which is said as such."""
    return any(
        ended.step == step.index and ended.code is not None and not ended.process
        for ended in step.timeline.app_ends
    )


def _gone(timeline: Timeline, index: int) -> Counter[Kind]:
    """Those that had not come back before the step at ``index``, since the app was started."""
    gone: Counter[Kind] = Counter()
    wanted = expected(timeline)
    for earlier in range(index):
        if timeline.find("warmup", earlier):
            gone.clear()
        step = StepWindow.of(timeline, earlier)
        if step.ran and step.after.consumers:
            for kind, count in wanted.items():
                gone[kind] += _return(step, kind, count - gone[kind]).missing
    if timeline.find("warmup", index):
        gone.clear()
    return gone


def _alive(segment: Segment, look: Consumers, since: float) -> Iterator[Consumer]:
    """Those of ``look`` that hear: subscribed, or waiting, or having asked after ``since``.

    A connection on which a request waited is the request's own matter.
    """
    used = {
        row.local
        for census in segment.censuses.values()
        for row in census.connections
        if row.user is not None
    }
    for each in look.consumers:
        asks = each.waits or each.since >= since
        if not each.deaf and (each.subscribed or (asks and each.client not in used)):
            yield each


def _is_touched(step: StepWindow, kind: Kind) -> bool:
    clients = {
        each.client
        for segment in step.timeline.segments
        for look in segment.consumers
        for each in look.consumers
        if _kind(each) == kind
    }
    return any(
        record.client in clients or (not record.client and record.proxy == kind[0])
        for record in step.records.values()
    )


def _kind(consumer: Consumer) -> Kind:
    return consumer.proxy, consumer.what
