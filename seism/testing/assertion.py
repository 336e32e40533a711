"""What a test may expect. A failing expectation tells the whole story."""

from __future__ import annotations

from collections.abc import Iterable

from seism.journal import Entry
from seism.report.summary import answer, cause, headline
from seism.report.text import clean, seconds
from seism.verdict.result import AMBER, RED, UNJUDGED, Judgement
from seism_middleware.contract import (
    Attribution,
    PerturbationBegan,
    PerturbationEnded,
    RequestEnded,
)

MOST = 40
"""Lines of a timeline that are shown, the last ones."""


def assert_survives(judgement: Judgement, route: str = "", *, strict: bool = False) -> None:
    """``route`` (``METHOD /pattern``), or every one, was perturbed and is not red.

    With ``strict`` it is not amber, either. A run that proves nothing (no steady state,
    something never fired, the route never covered) fails as well.
    """
    __tracebackhide__ = True
    wrong = (RED, AMBER) if strict else (RED,)
    cells = [cell for cell in judgement.cells if route in ("", cell.route)]
    bad = [cell for cell in cells if cell.colour in wrong]
    lines = []
    for cell in bad:
        lines.append(f"{cell.route} under {cell.perturbation}: {'; '.join(cell.reasons)}")
        if cell.worst is not None:
            worst = cell.worst
            lines.append(f"  request {worst.request}, {worst.phase}: {answer(worst)}")
            lines.append(f"  after {seconds(worst.duration)}, {cause(worst)}")
            lines += [f"  logged {error}" for error in worst.errors]
    if not route:
        lines += judgement.findings
    if not judgement.steady.met:
        lines.append(f"no steady state: {judgement.steady.reason}")
    elif not lines and judgement.never_fired:
        lines.append(f"never fired: {', '.join(judgement.never_fired)}")
    elif not lines and all(cell.colour in UNJUDGED for cell in cells):
        lines.append(f"no perturbation is known to have hit {route or 'any route'}")
    if lines:
        raise AssertionError("\n".join(map(clean, [headline(judgement), *lines])))


def assert_fired(records: Iterable[Entry], proxy: str, fired: bool = True) -> None:
    """Something on ``proxy`` had an effect, or nothing had."""
    __tracebackhide__ = True
    records = list(records)
    found = [
        entry for entry in records
        if isinstance(entry.record, PerturbationBegan) and entry.record.proxy == proxy
    ]  # fmt: skip
    if bool(found) != fired:
        what = f"nothing was perturbed on {proxy}" if fired else f"{proxy} was perturbed"
        raise AssertionError("\n".join([what, *timeline(records)]))


def timeline(records: Iterable[Entry]) -> list[str]:
    """What happened, a line each, in milliseconds since the first of it."""
    lines: list[tuple[float, str]] = []
    for entry in records:
        record = entry.record
        if isinstance(record, PerturbationBegan):
            where = f" at byte {record.offset} of {record.client}" if record.client else ""
            lines.append(
                (record.at, f"{record.perturbation} begins: {record.type} on {record.proxy}{where}")
            )
        elif isinstance(record, PerturbationEnded):
            lines.append((record.at, f"{record.perturbation} ends: {record.outcome}"))
        elif isinstance(record, RequestEnded):
            status = "no response" if record.status is None else str(record.status)
            text = f"{record.method} {record.route}: {status} after {seconds(record.duration)}"
            text += f", {record.exception}" if record.exception else ""
            lines.append((entry.at, f"{text} [{record.request}]"))
        elif isinstance(record, Attribution):
            sure = "" if record.exact else "possibly "
            text = f"{record.perturbation} {sure}{record.role} {record.request}"
            lines.append((entry.at, f"{text}, evidence: {record.evidence}"))
    lines.sort(key=lambda line: line[0])
    start = lines[0][0] if lines else 0.0
    return [f"{(at - start) * 1000:8.1f} ms  {clean(text)}" for at, text in lines[-MOST:]]
