"""The verdict engine: a pure function from a journal to a Judgement.

The rules, in the order in which they are asked (``Rules`` has the figures):

red    no response; a truncated body; wrong data: a reply to another request's question; 500
       or another 5xx than 503 that is not allowed; a 4xx, a redirect to elsewhere or a body that
       does not parse, if the control run never gave it (``odd_answer``); work that is done twice
       (``work``); a route that is not as before within ``recover_s`` (``recovery``); connections
       or memory that stay behind, connections that are lost, requests that hang (``pool``); an
       action that was done twice or never
amber  a recovery that takes longer than ``recover_slow_s``; 503 without Retry-After, or with
       a log that does not tell of it as it should (``log_quality``); other content than in the
       control run (``content``); lost work (``work``); a backend that is not asked any more
       (``unused_backend``); slower than the deadline; a retry storm, which from some size on is
       red (``retry_storm``)
green  everything else

A cell is not covered where no perturbation touched the route (an attribution says so), and
where the route was still broken from an earlier perturbation and none of the requests that were
hit failed. It is unsure where nothing went
wrong, and perturbations are attributed to its requests only as possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from seism import options
from seism.journal import Entry
from seism.verdict import background, consumer, log_quality, steady_state
from seism.verdict.accounting import action_lines, dropped
from seism.verdict.cell import StepVerdict
from seism.verdict.conservation import unplaced, why_never_fired
from seism.verdict.detectors import Detectors
from seism.verdict.hidden_exception import hidden_exceptions
from seism.verdict.own_rate import OwnRates, believed
from seism.verdict.result import (
    AMBER,
    GREEN,
    NEVER,
    NO_PARKED,
    NOT_COVERED,
    RED,
    SEVERITY,
    Case,
    Cell,
    HarmFinding,
    Judgement,
    Pool,
)
from seism.verdict.retry_storm import Storms
from seism.verdict.rules import Rules
from seism.verdict.steady_state import ControlRun, Flaky
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline, build
from seism.verdict.whole_run import (
    attribution_warnings,
    census_warnings,
    end_findings,
    incomplete,
    load_findings,
    login_warnings,
    unjudged_warnings,
)
from seism.verdict.wrong_reply import WrongReplies


def judge(entries: Iterable[Entry]) -> Judgement:
    """Judge one run by the rules in its manifest.

    Raises ConfigurationError if ``entries`` do not begin with a manifest.
    """
    timeline = build(entries)
    rules = options.build(Rules, timeline.manifest.rules or {}, "manifest: rules")
    control = ControlRun(timeline, rules, WrongReplies(timeline))
    steady = control.steady()
    steps = _judge_steps(timeline, control, rules) if steady.met else _Steps()
    flaky = steady_state.flaky(timeline, steps.broken)
    lost = unplaced(timeline, steps.cells) if steady.met else []
    cells = [_not_blamed(cell, flaky.get(cell.route)) for cell in steps.cells]
    consumers = list(consumer.cells(timeline, rules)) if steady.met else []
    cells += consumers
    unsure = {(c.route, c.perturbation) for c in cells if c.route in flaky and not c.worst}
    cases = [case for case in steps.cases if (case.route, case.perturbation) not in unsure]
    cases.sort(key=lambda case: (-SEVERITY[case.colour], not case.exact, -case.duration))
    of_control = control.replies.findings_of_control() if steady.met else ()
    harms = sorted(
        [*steps.harms, *of_control], key=lambda harm: (-SEVERITY[harm.colour], not harm.exact)
    )
    findings = [
        *action_lines(timeline.find("steady"), "without any perturbation"),
        *steps.findings,
        *steady_state.damaged(timeline, steps.broken),
    ]
    if steady.met:
        findings += (
            f"after all perturbations {unmet}"
            for unmet in steady_state.unmet(timeline.find("control"), rules)
        )
        findings += load_findings(timeline)
    findings += end_findings(timeline)
    return Judgement(
        seed=timeline.manifest.seed,
        plan=timeline.plan,
        colour=worst_colour(cells, findings, harms),
        steady=steady,
        routes=(*control.routes, *dict.fromkeys(cell.route for cell in consumers)),
        perturbations=tuple(step.name for step in timeline.plan),
        cells=tuple(cells),
        cases=tuple(cases),
        findings=tuple(findings),
        harms=tuple(harms),
        pools=tuple(steps.pools),
        never_fired=tuple(steps.never_fired),
        dropped=dropped(timeline),
        incomplete=incomplete(timeline),
        unplaced=tuple(lost),
        diagnosis=timeline.diagnosis,
        warnings=(
            *lost,
            *map(str, flaky.values()),
            *(steady_state.refused(timeline, rules) if steady.met else ()),
            *attribution_warnings(timeline),
            *login_warnings(timeline),
            *dict.fromkeys(census_warnings(timeline)),
            *unjudged_warnings(timeline),
            *steps.why_never_fired,
            *log_quality.lines(steps.log_misses),
            *hidden_exceptions(timeline),
            *background.lines(timeline),
        ),
        flaky=tuple(map(str, flaky.values())),
    )


def worst_colour(
    cells: Iterable[Cell], findings: Iterable[str], harms: Iterable[HarmFinding]
) -> str:
    """The colour of a whole run: that of the worst of these."""
    colours = [cell.colour for cell in cells] + [RED] * any(True for _ in findings)
    colours += [harm.colour for harm in harms if harm.colour != GREEN]
    return max(colours, key=SEVERITY.__getitem__, default=NOT_COVERED)


@dataclass(slots=True)
class _Steps:
    """What is said of all steps."""

    cells: list[Cell] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    harms: list[HarmFinding] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    log_misses: list[log_quality.LogMiss] = field(default_factory=list)
    never_fired: list[str] = field(default_factory=list)
    why_never_fired: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    """Route that has not recovered by the end -> since which step."""
    unused: dict[tuple[str, str], str] = field(default_factory=dict)
    """(Route, backend) that it does not ask any more -> since when, in words."""


def _judge_steps(timeline: Timeline, control: ControlRun, rules: Rules) -> _Steps:
    found = _Steps()
    storms, own = Storms(timeline, rules), OwnRates(timeline, control)
    detectors = Detectors(timeline, control, rules)
    verdicts = [
        (index, StepVerdict(step, control, storms, rules, own, detectors.of(step)))
        for index in range(len(timeline.plan))
        if (step := StepWindow.of(timeline, index)).ran
    ]
    blamed = believed((index, verdict.unattributed) for index, verdict in verdicts)
    for index, verdict in verdicts:
        step = verdict.step
        verdict.settle({place for of, place in blamed if of == index})
        if timeline.find("warmup", index):
            found.broken, found.unused = {}, {}  # the app was started again
        cells = [_unasked(cell, step, found.unused) for cell in verdict.cells(found.broken)]
        known = {cell.route for cell in cells if cell.colour != NOT_COVERED}
        worst = {cell.worst.request: cell.worst for cell in cells if cell.worst is not None}
        found.cases += worst.values()
        found.cases += [
            case
            for case in verdict.cases()
            if case.request not in worst and (case.route in known or case.route not in found.broken)
        ]
        found.findings += verdict.findings()
        found.log_misses += verdict.log_misses()
        found.harms += verdict.harms()
        found.pools += verdict.pools.summary()
        # Nobody may have seen the connects that failed: it is down all the same.
        fired = step.fired or (step.is_down and any(cell.possible for cell in cells))
        if not fired and (step.is_probe or step.is_of_parked):
            why = NO_PARKED if step.is_of_parked else NEVER
            cells = [_unreached(cell, why) for cell in cells]
        elif not fired and not any(backend in step.backends for _, backend in found.unused):
            found.never_fired.append(step.name)
            why = why_never_fired(timeline, index)
            found.why_never_fired.append(f"{step.name} never fired: {why}")
        found.cells += cells
        found.broken = verdict.still_broken(found.broken)
        found.unused |= verdict.unused()
    return found


def _unasked(cell: Cell, step: StepWindow, unused: Mapping[tuple[str, str], str]) -> Cell:
    """A route that does not ask the backend any more shows nothing of what is done to it."""
    whys = [unused.get((cell.route, backend), "") for backend in step.backends]
    if not all(whys) or SEVERITY[cell.colour] >= SEVERITY[AMBER]:
        return cell
    return replace(cell, colour=NOT_COVERED, reasons=(whys[0],), worst=None, notes=())


def _unreached(cell: Cell, why: str) -> Cell:
    """What is said where there was nothing to perturb, unless something went wrong all the same."""
    if SEVERITY[cell.colour] >= SEVERITY[AMBER]:
        return cell
    return replace(cell, colour=NOT_COVERED, reasons=(why,), worst=None)


def _not_blamed(cell: Cell, flaky: Flaky | None) -> Cell:
    """What a flaky route does is its own, unless all requests that were hit went wrong."""
    if flaky is None or cell.colour not in (AMBER, RED) or cell.certain:
        return cell
    return replace(cell, colour=NOT_COVERED, reasons=(str(flaky),), worst=None)
