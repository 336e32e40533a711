"""The results of the verdict: all that reports know of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from seism.model import PlannedStep

GREEN = "green"
AMBER = "amber"
RED = "red"
NOT_COVERED = "not covered"
"""The perturbation did not touch the route, or the route was broken before it came."""

UNSURE = "unsure"
"""Nothing went wrong, and the perturbation has hit the route possibly, but not for certain."""

NEVER = "unreachable: that exchange never came, or nothing of it could be perturbed"
"""Why the cell of a sweep's probe is not covered that found nothing to perturb."""

NO_PARKED = "no connection that a pool keeps was there to perturb"
"""Why the cell of a perturbation of parked connections is not covered, where the app keeps none."""

EARLIER = "earlier"
"""A case's role: nothing hit the request itself, but its route was hit before by this."""

COLLATERAL = "collateral"
"""A case's role: nothing hit the request, and it failed as the control run does not."""

ERROR, SILENT, SLOW, CUT = "error", "no response", "slow", "cut"
BAD_503, STORM, UNRECOVERED = "bad 503", "retry storm", "not recovered"
ODD, DEGRADED, HIDDEN, UNUSED = "odd answer", "degraded", "hidden exception", "backend unused"
LOST_WORK, TWICE, FAILED_JOB = "lost work", "done twice", "failed job"
"""Kinds of what is wrong with a request; harm has kinds of its own."""

SEVERITY = {NOT_COVERED: 0, UNSURE: 1, GREEN: 2, AMBER: 3, RED: 4}
UNJUDGED = (NOT_COVERED, UNSURE)
"""The colours that say nothing of how a route survives."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one request."""

    colour: str
    """``green``, ``amber`` or ``red``."""
    reason: str = ""
    """One line, empty when green."""
    kind: str = ""
    """What is wrong, such as ``error`` or ``slow``; empty when green."""

    @property
    def severity(self) -> int:
        """The larger, the worse."""
        return SEVERITY[self.colour]


FINE = Verdict(GREEN)


@dataclass(frozen=True, slots=True)
class Case:
    """One request that was judged, with what hit it."""

    request: str
    route: str
    """``METHOD pattern``."""
    perturbation: str
    """Name of the planned perturbation in whose time it ran."""
    phase: str
    """``during`` or ``after`` (aftershock)."""
    colour: str
    reason: str
    """One line, empty when green."""
    status: int | None
    duration: float
    """Seconds."""
    hit_by: str = ""
    """Id of the perturbation record that hit or harmed it, empty if none is known."""
    role: str = ""
    """``hit``, ``harmed``, ``earlier`` or ``collateral``."""
    evidence: str = ""
    exact: bool = False
    errors: tuple[str, ...] = ()
    """What it logged as errors: ``logger where exception template``, no values."""
    exception: str = ""
    frames: tuple[str, ...] = ()
    """The traceback of what it raised, or else of what it logged: ``app/views.py:41 checkout``
    each, outermost first."""
    what: str = ""
    """The perturbation that hit it in words: type, backend, where in which connection."""
    kind: str = ""
    """As in ``Verdict``."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long a route took, after a perturbation had ended, until it was as before."""

    seconds: float | None
    """0: it was as before at once; None: it was not by the end of what was seen of it."""
    requests: int
    """So many of its requests were answered before it was as before."""
    bad: int
    """Requests of the aftershock that were not answered as in the control run."""
    watched: float
    """Seconds after the end of the perturbation for which it was requested."""
    lasting: str = ""
    """How the last control run still failed, where the app was not restarted before; empty if it
    did not."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One route under one planned perturbation."""

    route: str
    perturbation: str
    colour: str
    reasons: tuple[str, ...]
    """Why it is not green, most severe first; for ``not covered`` and ``unsure``, why
    nothing is known."""
    requests: int
    exact: int
    """Requests to which one of its perturbation records is attributed exactly."""
    possible: int
    """Requests to which one is attributed, but not exactly."""
    worst: Case | None = None
    certain: bool = False
    """All of several requests that were hit went wrong, so that it is no coincidence."""
    recovery: Recovery | None = None
    """None: nothing of the route was requested after the perturbation."""
    notes: tuple[str, ...] = ()
    """What a green cell has survived, one line each: a fallback that works, say."""


CROSSTALK, WRONG, ABANDONED = "crosstalk", "wrong data", "abandoned"
LEAKED, LOST, HANG, DIED = "leaked", "lost", "hang", "died"
STALE, ENDED = "stale", "ended"
"""The kinds of harm."""
MOST_NAMED = 20
"""Requests named in one finding of harm."""


@dataclass(frozen=True, slots=True)
class HarmFinding:
    """What a planned perturbation did beyond the requests that it hit."""

    kind: str
    """``crosstalk``, ``wrong data``, ``abandoned``, ``leaked``, ``lost``, ``hang``,
    ``died``, ``stale`` or ``ended``."""
    perturbation: str
    """Name of the planned perturbation, empty for the control run."""
    colour: str
    """``red``, ``amber``, or ``green`` for what did no harm yet, or is only possible."""
    what: str
    """One sentence: the connection or pool, the requests, the cause."""
    evidence: str
    """``ledger``, ``census``, ``sentinel``, ``stream`` (how a worker's ended),
    ``connection`` (an exception came from the one that was perturbed), ``process`` (how the
    app's ended), or that of the
    attribution for what happened to the request that was hit."""
    exact: bool
    backend: str = ""
    worker: str = ""
    connection: str = ""
    """``host:port`` of the app's end, where it is one connection."""
    requests: tuple[str, ...] = ()
    """Ids of the requests concerned."""
    hit_by: str = ""
    """Id of the perturbation record that it began with, empty if none is known."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One worker's connections to the perturbed backend."""

    perturbation: str
    worker: str
    backend: str
    before: int
    during: int | None
    after: int
    """Open connections before the perturbation, just before its end, and at the end of its
    aftershock."""
    rss_slope: float | None = None
    """MB that the worker's memory grew by per 100 requests of the aftershock."""
    cpu: float | None = None
    """CPU time per request of the aftershock, as a multiple of the control run's."""


@dataclass(frozen=True, slots=True)
class Steady:
    """The control run before the first perturbation."""

    met: bool
    reason: str
    """Why it was not met, one line."""
    requests: int
    p99: dict[str, float] = field(default_factory=dict)
    """Route -> seconds."""
    deadline: dict[str, float] = field(default_factory=dict)
    """Route -> seconds, as used for the verdicts."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The weaknesses of a run beside those that were accepted before, in a baseline."""

    file: str
    new: tuple[str, ...]
    """Fingerprints of those that are not accepted, or worse than what was."""
    accepted: tuple[str, ...]
    """Fingerprints of those that are."""
    gone: tuple[str, ...]
    """Titles of those that were accepted, and are not there any more."""
    colour: str
    """The worst of the new ones; green: there is none."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything that was decided about one run."""

    seed: int
    plan: tuple[PlannedStep, ...]
    """The planned perturbations in order; ``name`` is what cells refer to."""
    colour: str
    steady: Steady
    routes: tuple[str, ...]
    perturbations: tuple[str, ...]
    cells: tuple[Cell, ...]
    cases: tuple[Case, ...]
    """Every request that was not green, the worst first."""
    findings: tuple[str, ...] = ()
    """What concerns a worker as a whole and no single route, one line each (red)."""
    harms: tuple[HarmFinding, ...] = ()
    """What the perturbations did beyond the requests that they hit, the worst first."""
    pools: tuple[Pool, ...] = ()
    """The connections of each worker under each perturbation."""
    never_fired: tuple[str, ...] = ()
    """Planned perturbations that had no effect at all."""
    dropped: int = 0
    """Observations that are known to be missing."""
    incomplete: str = ""
    """Why the run did not come to its end, where that is nobody's fault: it was interrupted, or the
    rest of its journal is missing."""
    unplaced: tuple[str, ...] = ()
    """Requests of the load, or perturbations, that are in no cell, one line for each kind: an
    error of Seism."""
    diagnosis: tuple[str, ...] = ()
    """What the doctor found where nothing could be judged, or something never fired."""
    warnings: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    """Routes that fail now and then without any perturbation, with figures, one line each."""
    baseline: Comparison | None = None
    """With what was accepted before; None: everything counts."""
    replay: str = ""
    """The command that repeats the run, to which ``--only`` and ``--route`` are added; empty: none
    does."""

    def cell(self, route: str, perturbation: str) -> Cell | None:
        for cell in self.cells:
            if cell.route == route and cell.perturbation == perturbation:
                return cell
        return None

    @property
    def matrix(self) -> dict[str, dict[str, str]]:
        """{route: {perturbation: colour}}; the same for the same seed."""
        matrix: dict[str, dict[str, str]] = {route: {} for route in self.routes}
        for cell in self.cells:
            matrix[cell.route][cell.perturbation] = cell.colour
        return matrix

    def exit_code(self, strict: bool = False) -> int:
        """0 green, 1 red, 3 no steady state, 4 never fired, dropped, incomplete, unplaced or
        nothing judged at all; amber is 0 unless strict. What a baseline accepts does not count.
        """
        if not self.steady.met:
            return 3
        colour = self.colour if self.baseline is None else self.baseline.colour
        if colour == RED or (strict and colour == AMBER):
            return 1
        gaps = self.never_fired or self.dropped or self.incomplete or self.unplaced
        if gaps or self.colour in UNJUDGED:
            return 4
        return 0


def plural(number: int, noun: str) -> str:
    """``1 request``, ``2 requests``."""
    return f"{number} {noun if number == 1 else noun + 's'}"


def listed(ids: Sequence[str], most: int = 5) -> str:
    """``a, b and 3 more``."""
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return f"{', '.join(ids[:most])}{more}"
