"""Weaknesses: what is to be fixed, out of the cells, harm and findings of one judgement.

A cell says where something shows; a weakness says what it is. Cells, harm and findings become one
weakness if they agree in kind, backend, and the place in the app's own code with the family of
the exception that was raised there. Whatever is amber or red is in exactly one or more of them.

The fingerprint has no line number, no request, no figure and no perturbation, so that it is the
same in the next run, with another seed, on another machine, and after lines were inserted above.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from seism.model import PlannedStep
from seism.verdict.result import (
    ABANDONED,
    AMBER,
    BAD_503,
    COLLATERAL,
    CROSSTALK,
    CUT,
    DEGRADED,
    DIED,
    ENDED,
    ERROR,
    FAILED_JOB,
    HANG,
    HIDDEN,
    LEAKED,
    LOST,
    LOST_WORK,
    ODD,
    RED,
    SEVERITY,
    SILENT,
    SLOW,
    STALE,
    STORM,
    TWICE,
    UNRECOVERED,
    UNUSED,
    WRONG,
    Case,
    Cell,
    HarmFinding,
    Judgement,
)
from seism_middleware.contract import is_own_frame

FINDING = "finding"
"""Kind of what concerns a worker or the run as a whole."""
OTHER = "other"
"""Kind of what a case without one is."""
STOPPED = "the run was stopped: "
"""How a finding begins that says nothing of the app."""

SYSTEM = "OSError"
_OF_SYSTEM = frozenset(
    {
        SYSTEM,
        "ConnectionError",
        "ConnectionResetError",
        "ConnectionRefusedError",
        "ConnectionAbortedError",
        "BrokenPipeError",
        "TimeoutError",
    }
)
"""Exceptions that are caught together."""

SAME = {SLOW: HANG, CROSSTALK: WRONG}
"""Kinds that are one thing to fix."""
BY_CODE = (ERROR, HIDDEN, FAILED_JOB)
"""Kinds that are fixed where they were raised."""
BY_ROUTE = (LEAKED, ODD, DEGRADED, LOST_WORK, TWICE, COLLATERAL, OTHER)
"""Kinds that are fixed in what answers the route."""

TITLES = {
    ERROR: "{routes} {answer|answers} {status} when {when}{raised}",
    SILENT: "{routes} {get|gets} no response when {when}",
    HANG: "{routes} {wait|waits} too long for {backend} when {when}",
    CUT: "{routes} {break|breaks} off in the middle of the answer when {when}",
    BAD_503: "{routes} {answer|answers} an incomplete 503 when {when}",
    STORM: "{routes} {try|tries} {backend} again and again when {when}",
    UNRECOVERED: "{routes} {take|takes} too long to recover after {when}",
    ODD: "{routes} {answer|answers} something else than usual when {when}",
    DEGRADED: "{routes} {answer|answers} other content when {when}",
    FAILED_JOB: "{routes} {fail|fails} for good when {when}{raised}",
    HIDDEN: "{routes} {hide|hides} an exception behind a good status when {when}{raised}",
    UNUSED: "{routes} no longer {use|uses} {backend} after {when}",
    LOST_WORK: "{routes} {lose|loses} work without a word when {when}",
    TWICE: "{routes} {do|does} work not exactly once when {when}",
    COLLATERAL: "{routes} {fail|fails}, although nothing touched their requests, when {when}",
    WRONG: "{routes} {get|gets} data of another request when {when}",
    ABANDONED: "{routes} {leave|leaves} a reply of {backend} behind when {when}",
    LEAKED: "{routes} {leak|leaks} connections to {backend} when {when}",
    LOST: "a pool does not get its connections to {backend} back after {when}",
    DIED: "a process of the app ends when {when}",
    ENDED: "a thread or task of the app ends when {when}",
    STALE: "{routes} {fail|fails} on broken connections to {backend} after {when}",
    OTHER: "{routes} {fail|fails} when {when}",
}
"""Kind -> title. ``{a|b}``: for several routes, and for one."""

EVENTS = {
    "down": "{0} is down",
    "refuse": "{0} refuses connections",
    "blackhole": "{0} cannot be reached",
    "connect_delay": "{0} accepts connections late",
    "accept_close": "{0} closes new connections",
    "latency": "{0} is slow",
    "exchange_delay": "{0} is slow",
    "bandwidth": "{0} is slow",
    "slicer": "{0} is slow",
    "late": "{0} replies late",
    "impatient": "{0} replies late and clients leave",
    "timeout": "{0} never replies",
    "exchange_hang": "{0} never replies",
    "stall": "{0} stops replying",
    "reset_peer": "{0} resets a connection",
    "exchange_reset": "{0} resets a connection",
    "exchange_close": "{0} closes a connection",
    "close_after": "{0} closes a connection",
    "limit_data": "{0} closes a connection",
    "restart": "{0} restarts",
    "goodbye": "{0} ends idle connections",
    "half_open": "established connections to {0} go dead",
    "flapping": "{0} comes and goes",
    "corrupt": "{0} sends corrupt bytes",
}
"""Type of a toxic -> what happens to the backend, in words."""


@dataclass(frozen=True, slots=True)
class Weakness:
    """One thing to fix."""

    fingerprint: str
    """16 hexadecimal digits."""
    kind: str
    """``error``, ``slow``, ``leaked`` and the like."""
    colour: str
    """``red`` or ``amber``: the worst of what shows it."""
    backend: str
    """The backend that was perturbed; of several, with ``+`` between them; empty: none."""
    title: str
    """One sentence for somebody who does not know Seism. Its texts come from the app."""
    place: str
    """The innermost frame of the app's own code: ``shop/cart.py:41 show``; empty if unknown."""
    exception: str
    """Dotted name of the type that was raised there most often; empty if none was."""
    library: str
    """The libraries below that place, outermost first: ``sqlalchemy psycopg2``."""
    routes: tuple[str, ...]
    perturbations: tuple[str, ...]
    cells: tuple[Cell, ...]
    """The amber and red cells in which it shows, the worst first."""
    harms: tuple[HarmFinding, ...]
    findings: tuple[str, ...]
    requests: tuple[str, ...]
    """Ids of the requests that show it."""
    times: int
    """Requests, or pieces of harm, that show it."""
    example: Case | None
    """The request that shows it best."""


@dataclass(slots=True)
class _Cluster:
    kind: str
    backend: str
    where: str
    family: str
    route: str = ""
    text: str = ""
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)
    harms: list[HarmFinding] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    routes: dict[str, None] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, ...]:
        return self.kind, self.backend, self.where, self.family, self.route, self.text

    @property
    def colour(self) -> str:
        colours = [case.colour for case in self.cases] + [harm.colour for harm in self.harms]
        colours += [cell.colour for cell in self.cells.values() if not self.cases]
        colours += [RED] * bool(self.findings)
        return max(colours, key=SEVERITY.__getitem__)

    @property
    def times(self) -> int:
        """Requests that show it, each once, and what concerns no request."""
        beside = [harm for harm in self.harms if not harm.requests]
        return len(self.requests) + len(beside) + len(self.findings)

    @property
    def requests(self) -> dict[str, None]:
        """The requests that show it, each once."""
        found = dict.fromkeys(case.request for case in self.cases)
        return found | dict.fromkeys(key for harm in self.harms for key in harm.requests)

    def take(self, other: _Cluster) -> None:
        """All of ``other``, too."""
        self.cells |= other.cells
        self.cases += other.cases
        self.harms += other.harms
        self.findings += other.findings
        self.routes |= other.routes


class _Clusters:
    def __init__(self, judgement: Judgement) -> None:
        self._judgement = judgement
        self._steps = {step.name: step for step in judgement.plan}
        self._cases = {case.request: case for case in judgement.cases}
        self._stale = {
            request for harm in judgement.harms if harm.kind == STALE for request in harm.requests
        }
        self._found: dict[tuple[str, ...], _Cluster] = {}
        wrong = {
            (cell.route, cell.perturbation): cell
            for cell in judgement.cells
            if cell.colour in (AMBER, RED)
        }
        shown = set()
        for case in judgement.cases:
            cell = wrong.get((case.route, case.perturbation))
            if cell is not None and case.colour in (AMBER, RED):
                self._add_case(case, cell)
                shown.add((case.route, case.perturbation))
        for place, cell in wrong.items():
            if place not in shown:
                self._add_case(cell.worst or _case_of(cell), cell)
        for harm in judgement.harms:
            if harm.colour in (AMBER, RED):
                self._add_harm(harm)
        for finding in judgement.findings:
            text = re.sub(r"\bworker \w+|\d[\d.,]*", "#", finding)
            self._of(_Cluster(FINDING, "", "", "", "", text)).findings.append(finding)

    def all(self) -> list[_Cluster]:
        """Each once; what lacks a place joins the only one of its kind that has one.

        A backend that is not asked any more is why its routes do not recover: said once.
        """
        placed: dict[tuple[str, str], list[_Cluster]] = {}
        bare = []
        for each in self._found.values():
            if each.where or each.family or each.route:
                placed.setdefault((each.kind, each.backend), []).append(each)
            else:
                bare.append(each)
        found = [each for group in placed.values() for each in group]
        for each in bare:
            better = placed.get((each.kind, each.backend), [])
            if len(better) == 1:
                better[0].take(each)
            else:
                found.append(each)
        return [each for each in found if not self._is_said(each, found)]

    def _is_said(self, each: _Cluster, found: Iterable[_Cluster]) -> bool:
        """Whether another one says it, and has taken it."""
        if each.kind != UNUSED:
            return False
        for other in found:
            same = other.kind == UNRECOVERED and other.backend == each.backend
            if same and each.cells.keys() <= other.cells.keys():
                other.take(each)
                return True
        return False

    def _add_case(self, case: Case, cell: Cell) -> None:
        kind = _kind(case.kind)
        if kind == ERROR and case.request in self._stale:
            kind = STALE
        where, family = _code(case) if kind in BY_CODE else ("", "")
        route = case.route if kind in BY_ROUTE else ""
        cluster = self._of(_Cluster(kind, self._backend(case.perturbation), where, family, route))
        cluster.cases.append(case)
        cluster.cells[cell.route, cell.perturbation] = cell
        cluster.routes[cell.route] = None

    def _add_harm(self, harm: HarmFinding) -> None:
        kind = _kind(harm.kind)
        cases = [self._cases[key] for key in harm.requests if key in self._cases]
        where, family = _code(cases[0]) if cases and kind in BY_CODE else ("", "")
        route = cases[0].route if cases and kind in BY_ROUTE else ""
        backend = harm.backend or self._backend(harm.perturbation)
        cluster = self._of(_Cluster(kind, backend, where, family, route))
        cluster.harms.append(harm)
        cluster.routes |= dict.fromkeys(case.route for case in cases)

    def _of(self, cluster: _Cluster) -> _Cluster:
        return self._found.setdefault(cluster.key, cluster)

    def _backend(self, perturbation: str) -> str:
        step = self._steps.get(perturbation)
        return "" if step is None else backends(step)


def weaknesses(judgement: Judgement) -> tuple[Weakness, ...]:
    """All of them, the worst first: red before amber, then those that show in more cells."""
    clusters = _Clusters(judgement)
    steps = {step.name: step for step in judgement.plan}
    libraries = _libraries_of_backends(judgement)
    found = [_weakness(each, steps, libraries) for each in clusters.all()]
    found.sort(key=lambda each: (-SEVERITY[each.colour], -len(each.cells), -each.times))
    return tuple(found)


def backends(step: PlannedStep) -> str:
    """The backends of a planned perturbation, with ``+`` between them."""
    return "+".join(dict.fromkeys(backend for backend, _ in step.targets))


def is_acceptable(weakness: Weakness) -> bool:
    """Whether it is one of the app, that somebody can decide to live with for a while."""
    return not any(line.startswith(STOPPED) for line in weakness.findings)


def _weakness(
    cluster: _Cluster, steps: Mapping[str, PlannedStep], libraries: Mapping[str, str]
) -> Weakness:
    cells = sorted(cluster.cells.values(), key=lambda cell: -SEVERITY[cell.colour])
    cases = sorted(
        cluster.cases, key=lambda case: (-SEVERITY[case.colour], not case.exact, not case.frames)
    )
    names = [cell.perturbation for cell in cells] + [harm.perturbation for harm in cluster.harms]
    example = cases[0] if cases else None
    placed = next((case for case in cases if _place(case.frames)), example)
    raised = Counter(_raised(case) for case in cases if _raised(case))
    own = " ".join(dict.fromkeys(lib for case in cases for lib in _libraries(case)))
    perturbations = tuple(name for name in dict.fromkeys(names) if name)
    return Weakness(
        fingerprint=_digest(cluster.key),
        kind=cluster.kind,
        colour=cluster.colour,
        backend=cluster.backend,
        title=_title(cluster, [steps[name] for name in perturbations if name in steps], cases),
        place=_place(placed.frames) if placed is not None and cluster.kind in BY_CODE else "",
        exception=raised.most_common(1)[0][0] if raised else "",
        library=own or libraries.get(cluster.backend, ""),
        routes=tuple(cluster.routes),
        perturbations=perturbations,
        cells=tuple(cells),
        harms=tuple(cluster.harms),
        findings=tuple(cluster.findings),
        requests=tuple(cluster.requests),
        times=cluster.times,
        example=placed if placed is not None and cluster.kind in BY_CODE else example,
    )


def _title(cluster: _Cluster, steps: Iterable[PlannedStep], cases: Iterable[Case]) -> str:
    if cluster.findings:
        return cluster.findings[0]
    routes = list(cluster.routes)
    which = routes[0] if len(routes) == 1 else f"{len(routes)} routes" if routes else "the app"
    backend = cluster.backend or "a backend"
    events = list(dict.fromkeys(_event(step) for step in steps))
    when = _listed(events, 2) if events else f"{backend} is perturbed"
    raised = Counter(_raised(case) for case in cases if _raised(case))
    status = Counter(case.status for case in cases if case.status is not None)
    words = {
        "routes": which,
        "backend": backend,
        "when": when,
        "raised": f" ({_short(raised.most_common(1)[0][0])})" if raised else "",
        "status": str(status.most_common(1)[0][0]) if status else "with an error",
    }
    several = len(routes) > 1

    def word(match: re.Match[str]) -> str:
        plural, _, singular = match[1].partition("|")
        if singular:
            return plural if several else singular
        return words[match[1]]

    return re.sub(r"\{([^{}]+)\}", word, TITLES[cluster.kind])


def _event(step: PlannedStep) -> str:
    named = [
        EVENTS.get(type_, "{0} fails with " + type_.replace("_", " ")).replace("{0}", backend)
        for (backend, _), type_ in zip(step.targets, step.types, strict=True)
    ]
    if step.front:
        return "the client's connection is perturbed"
    return " and ".join(dict.fromkeys(named))


def _listed(words: list[str], most: int) -> str:
    """``a, b or c``; of more than ``most``, the rest as a count."""
    if len(words) > most:
        return f"{', '.join(words[:most])} or {len(words) - most} more"
    return " or ".join(words)


def _kind(kind: str) -> str:
    kind = SAME.get(kind, kind)
    return kind if kind in TITLES else OTHER


def _case_of(cell: Cell) -> Case:
    """What a cell shows that has no case, as in a judgement that was made by hand."""
    reason = cell.reasons[0] if cell.reasons else ""
    return Case("", cell.route, cell.perturbation, "", cell.colour, reason, None, 0.0)


def _code(case: Case) -> tuple[str, str]:
    """Module and function of the app's own innermost frame, and the family of the exception."""
    path, _, function = _place(case.frames).rpartition(" ")
    where = f"{path.rpartition(':')[0]} {function}" if path else ""
    return where, _family(_raised(case))


def _place(frames: Iterable[str]) -> str:
    return next((each for each in reversed([*frames]) if is_own_frame(each) and ":" in each), "")


def _raised(case: Case) -> str:
    """The exception that left the app, or else the first that it logged."""
    if case.exception:
        return case.exception
    for error in case.errors:
        for word in error.split(" ")[2:3]:
            if re.fullmatch(r"[A-Za-z_][\w.]*(Error|Exception|Timeout|Refused|Closed)", word):
                return word
    return ""


def _family(exception: str) -> str:
    """The exceptions that are caught together: a library's, or the operating system's."""
    if not exception:
        return ""
    top, dot, _ = exception.partition(".")
    if not dot:
        return SYSTEM if exception in _OF_SYSTEM else exception
    return SYSTEM if top in ("socket", "ssl", "http", "urllib") else top


def _short(exception: str) -> str:
    return exception.rpartition(".")[2]


def _libraries(case: Case) -> Iterator[str]:
    """The libraries below the app's own code, outermost first."""
    found: list[str] = []
    for frame in case.frames:
        if is_own_frame(frame):
            found = []
        elif match := re.match(r"(?:site|dist)-packages/([A-Za-z_]\w*)", frame):
            found.append(match[1])
    top, dot, _ = _raised(case).partition(".")
    yield from dict.fromkeys([*found, top] if dot else found)


def _libraries_of_backends(judgement: Judgement) -> dict[str, str]:
    """Backend -> the libraries that were seen to fail with it."""
    found: dict[str, dict[str, None]] = {}
    steps = {step.name: step for step in judgement.plan}
    for case in judgement.cases:
        step = steps.get(case.perturbation)
        if step is not None:
            found.setdefault(backends(step), {}).update(dict.fromkeys(_libraries(case)))
    return {backend: " ".join(names) for backend, names in found.items()}


def _digest(key: tuple[str, ...]) -> str:
    text = "\n".join(key).encode(errors="backslashreplace")
    return hashlib.sha256(text).hexdigest()[:16]
