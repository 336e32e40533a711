"""What all reports say in the same words: the sentence on top, and what to show first."""

from __future__ import annotations

from collections import Counter

from seism.report.text import clean, count, seconds
from seism.verdict.result import (
    AMBER,
    COLLATERAL,
    EARLIER,
    GREEN,
    NOT_COVERED,
    RED,
    SEVERITY,
    UNSURE,
    Case,
    Cell,
    HarmFinding,
    Judgement,
    Pool,
)
from seism_middleware.contract import is_own_frame

UNPROVEN = "unproven"
"""Beside the colours: no steady state, or something never fired or was dropped."""


def outcome(judgement: Judgement) -> str:
    """One of the colours, or ``unproven`` where the run cannot vouch for its colour.

    A red run stays red whatever else went wrong: what was seen was seen.
    """
    if not judgement.steady.met:
        return UNPROVEN
    gaps = judgement.never_fired or judgement.dropped or judgement.incomplete or judgement.unplaced
    if judgement.colour != RED and gaps:
        return UNPROVEN
    return judgement.colour


def headline(judgement: Judgement) -> str:
    """The verdict as one sentence."""
    if not judgement.steady.met:
        return "No verdict: the app was not in a steady state before the first perturbation."
    result = outcome(judgement)
    if result == UNPROVEN:
        return f"Not proven: {_gaps(judgement)}."
    routes = count(len(judgement.routes), "route")
    if result == RED:
        broken = {cell.route for cell in judgement.cells if cell.colour == RED}
        if not broken:
            return f"Red: no route breaks, but {_beside(judgement)}."
        hitters = {cell.perturbation for cell in judgement.cells if cell.colour == RED}
        among = f"{len(broken)} of {routes} {'breaks' if len(broken) == 1 else 'break'}"
        return (
            f"Red: {among}, under {len(hitters)} of "
            f"{count(len(judgement.perturbations), 'perturbation')}."
        )
    if result == AMBER:
        bent = {cell.route for cell in judgement.cells if cell.colour == AMBER}
        if not bent:
            return f"Amber: no route degrades, but {_beside(judgement)}."
        verb = "degrades" if len(bent) == 1 else "degrade"
        return f"Amber: nothing breaks, but {len(bent)} of {routes} {verb}."
    if result == GREEN:
        held = {cell.route for cell in judgement.cells if cell.colour == GREEN}
        return (
            f"Green: {count(len(held), 'route')} {'holds' if len(held) == 1 else 'hold'} under "
            f"{count(len(judgement.perturbations), 'perturbation')}."
        )
    if result == UNSURE:
        return "No verdict: no perturbation is known to have hit any route."
    return "No verdict: no perturbation touched any route."


def _beside(judgement: Judgement) -> str:
    found = count(len(judgement.findings), "worker finding")
    harms = sum(harm.colour == judgement.colour for harm in judgement.harms)
    if not harms:
        return found
    more = f" and {found}" if judgement.findings else ""
    return f"{count(harms, 'harm')} stay{'s' if harms == 1 else ''} behind{more}"


def harm_line(harm: HarmFinding) -> str:
    """``lost under db down: ...``; what is only possible never reads as certain."""
    sure = "exact" if harm.exact else "possible"
    under = f" under {harm.perturbation}" if harm.perturbation else ""
    return clean(f"{harm.kind}{under}: {harm.what} ({sure}, evidence: {harm.evidence})", 600)


def recovery(cell: Cell) -> str:
    """``as before 0.2 s and 12 requests after its end``; empty where nothing is known."""
    found = cell.recovery
    if found is None:
        return ""
    if found.seconds is None:
        bad = f"{found.bad} of {count(found.requests, 'request')}"
        return f"not as before {seconds(found.watched)} after its end: {bad} were not"
    if not found.requests:
        return "as before at once"
    return (
        f"as before {seconds(found.seconds)} and {count(found.requests, 'request')} after its end"
    )


def recoveries(judgement: Judgement) -> list[str]:
    """How long each route took to be as before, where it took any time, by perturbation."""
    return [
        clean(f"{cell.route} under {cell.perturbation}: {recovery(cell)}")
        for cell in judgement.cells
        if cell.recovery is not None and (cell.recovery.seconds is None or cell.recovery.requests)
    ]


def connections(pool: Pool) -> str:
    """``worker w, db under db down: 4 connections before, 4 after``."""
    return clean(
        f"worker {pool.worker}, {pool.backend} under {pool.perturbation}: "
        f"{pool.before} connections before, {pool.after} after{_vitals(pool)}"
    )


def _vitals(pool: Pool) -> str:
    memory = "" if pool.rss_slope is None else f"; memory {pool.rss_slope:+.1f} MB per 100 requests"
    return memory if pool.cpu is None else f"{memory}; CPU {pool.cpu:.1f} times the control run's"


def _gaps(judgement: Judgement) -> str:
    gaps = []
    if judgement.never_fired:
        gaps.append(f"{count(len(judgement.never_fired), 'perturbation')} never fired")
    if judgement.incomplete:
        gaps.append(judgement.incomplete)
    if judgement.dropped:
        gaps.append(f"{count(judgement.dropped, 'observation')} dropped")
    if judgement.unplaced:
        gaps.append("an error of Seism, as not everything is in a cell")
    return " and ".join(gaps)


def tally(judgement: Judgement) -> list[tuple[str, int]]:
    """How many cells have each colour that occurs, the most severe first."""
    counts = Counter(cell.colour for cell in judgement.cells)
    order = (RED, AMBER, GREEN, UNSURE, NOT_COVERED)
    return [(colour, counts[colour]) for colour in order if counts[colour]]


def worst_cells(judgement: Judgement) -> list[Cell]:
    """The red cells, then the amber ones, each in the order of the table."""
    wrong = [cell for cell in judgement.cells if cell.colour in (RED, AMBER)]
    return sorted(wrong, key=lambda cell: -SEVERITY[cell.colour])


def reason(cell: Cell) -> str:
    """Why the cell is not green, one line."""
    if cell.reasons:
        return clean(cell.reasons[0])
    return clean(cell.worst.reason) if cell.worst else ""


def cause(case: Case) -> str:
    """What is known to have hit this request; a possible cause never reads as a certain one."""
    if not case.hit_by:
        return "no perturbation is attributed to this request"
    sure = "exact" if case.exact else "not exact"
    if case.role == COLLATERAL:
        return clean(f"{hit(case)} (not exact: the control run does not fail like that)")
    return clean(f"{hit(case)} ({sure}, evidence: {case.evidence or 'none'})")


def hit(case: Case) -> str:
    """``hit by p7: latency on db, ...``, or as much of that as is known."""
    what = f"{case.hit_by}: {case.what}" if case.what else case.hit_by
    if case.role == COLLATERAL:
        return f"nothing hit it; it fails since {what}"
    how = "its route was hit before" if case.role == EARLIER else case.role or "hit"
    return f"{how} by {what}" if case.exact else f"possibly {how} by {what}"


def story(case: Case) -> list[str]:
    """What the app said of it: the exception, its log's lines, the traceback; no values."""
    lines = [f"exception: {clean(case.exception)}"] if case.exception else []
    lines += [f"logged: {clean(error)}" for error in case.errors]
    return lines + [f"  at {clean(frame)}" for frame in case.frames]


def place(frames: tuple[str, ...]) -> tuple[str, int] | None:
    """File and line of the innermost of ``frames`` that is in the app's folder, or None."""
    for frame in reversed(frames):
        path, _, line = frame.rpartition(" ")[0].rpartition(":")
        if path and is_own_frame(frame) and line.isdigit():
            return path, int(line)
    return None


def answer(case: Case) -> str:
    """What the client saw of it."""
    return "no response" if case.status is None else f"status {case.status}"


def backend(judgement: Judgement, perturbation: str) -> str:
    """The backend that a planned perturbation is aimed at, or its own name if the plan is mute.

    As it is in the plan: not cleaned.
    """
    for step in judgement.plan:
        if step.name == perturbation:
            return step.backend or perturbation
    return perturbation
