"""Judgements whose right report is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from seism.model import PlannedStep, ToxicSpec
from seism.verdict.result import (
    AMBER,
    BAD_503,
    ERROR,
    GREEN,
    NOT_COVERED,
    RED,
    SEVERITY,
    SLOW,
    UNRECOVERED,
    UNSURE,
    Case,
    Cell,
    HarmFinding,
    Judgement,
    Pool,
    Recovery,
    Steady,
)

ROOT = Path(__file__).parents[2]
ROUTES = (
    "GET /health",
    "GET /articles/{slug}",
    "POST /cart",
    "GET /reports/{year}/{month}/summary-by-department",
    "GET /session",
)
PERTURBATIONS = (
    "cache-slow",
    "cache-reset",
    "cache-down",
    "database-slow",
    "database-reset",
    "database-down",
)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x onerror=alert(1)>',
    "[red]not red[/red] [/] [link=http://evil.example]x[/link]",
    "\x1b[31mred\x1b[0m\x07\x00\x08",
    "line\nbreak\r\n\tand tab",
    "]]> &amp; <!-- --> {{ 7*7 }} {% raw %}",
    "\u202eright to left \ufffe\ufeff\udc80",
    "a" * 5000,
    "漢字 and 💥 and e\u0301",
    "",
)


def plan() -> tuple[PlannedStep, ...]:
    """Six planned perturbations of two backends."""
    return tuple(
        PlannedStep(
            ToxicSpec(
                {"slow": "latency", "reset": "reset_peer"}.get(name.partition("-")[2], "down"),
                name,
                attributes={"latency": 900} if name.endswith("slow") else {},
            ),
            name.partition("-")[0],
            name,
            during=120,
        )
        for name in PERTURBATIONS
    )


def green() -> Judgement:
    """An app that survives everything."""
    return Judgement(
        seed=7,
        plan=plan(),
        colour=GREEN,
        steady=Steady(
            True,
            "",
            480,
            dict.fromkeys(ROUTES, 0.0042),
            dict.fromkeys(ROUTES, 0.5),
        ),
        routes=ROUTES,
        perturbations=PERTURBATIONS,
        cells=tuple(
            Cell(route, name, GREEN, (), 24, 20, 4) for route in ROUTES for name in PERTURBATIONS
        ),
        cases=(),
    )


def mixed() -> Judgement:
    """Two weaknesses, one blemish, a route that uses no backend, and a perturbation unused."""
    worst = {
        ("POST /cart", "cache-reset"): Case(
            "w1-204",
            "POST /cart",
            "cache-reset",
            "during",
            RED,
            "500 without an honest 503",
            500,
            0.012,
            hit_by="p-12",
            role="hit",
            evidence="ledger",
            exact=True,
            errors=("shop.views cart.py:41 redis.exceptions.ConnectionError could not read cart",),
            exception="redis.exceptions.ConnectionError",
            frames=(
                "shop/views.py:12 page",
                "shop/cart.py:41 show",
                "site-packages/redis/client.py:559 execute_command",
            ),
            kind=ERROR,
        ),
        (ROUTES[3], "database-slow"): Case(
            "w2-77",
            ROUTES[3],
            "database-slow",
            "after",
            RED,
            "not recovered within 10 s",
            None,
            31.5,
            hit_by="p-31",
            role="harmed",
            evidence="overlap",
            exact=False,
            kind=UNRECOVERED,
        ),
        ("GET /session", "cache-down"): Case(
            "w1-311",
            "GET /session",
            "cache-down",
            "during",
            AMBER,
            "503 without Retry-After",
            503,
            0.4,
            kind=BAD_503,
        ),
    }
    cells = []
    for route in ROUTES:
        for name in PERTURBATIONS:
            case = worst.get((route, name))
            if route == "GET /health":
                cell = Cell(route, name, NOT_COVERED, ("uses no backend",), 24, 0, 0)
            elif case is None:
                cell = Cell(route, name, GREEN, (), 24, 20, 4)
            elif case.phase == "after":
                found = Recovery(None, 120, 90, 10.0)
                cell = Cell(route, name, case.colour, (case.reason,), 24, 0, 4, case, False, found)
            else:
                exact = 20 if case.exact else 0
                cell = Cell(route, name, case.colour, (case.reason,), 24, exact, 4, case)
            cells.append(cell)
    return replace(
        green(),
        colour=RED,
        cells=tuple(cells),
        cases=tuple(sorted(worst.values(), key=lambda case: -SEVERITY[case.colour])),
        warnings=("the worker is blind for uvloop",),
    )


def wide(number: int) -> Judgement:
    """``number`` perturbations of three backends, under some of which routes break."""
    backends = ("db", "cache", "search-index")
    kinds = ("reset", "slow", "down", "restart", "half-open", "late")
    steps = []
    for place in range(number):
        owner, kind = backends[place % 3], kinds[place // 3 % len(kinds)]
        again = place // 18
        name = f"{owner} {kind}" + (f" #{again + 1}" if again else "")
        toxic = {"reset": "reset_peer", "slow": "latency", "half-open": "half_open"}.get(kind, kind)
        steps.append(PlannedStep(ToxicSpec(toxic, name), owner, name, during=120))
    steps.sort(key=lambda step: backends.index(step.backend))
    cells, cases = [], []
    for row, route in enumerate(ROUTES):
        for step in steps:
            cell = Cell(route, step.name, GREEN, (), 24, 20, 4)
            if row == 0:
                cell = Cell(route, step.name, NOT_COVERED, ("it did not touch it",), 24, 0, 0)
            elif row == 2 and step.backend == "cache":
                case = replace(mixed().cases[0], perturbation=step.name, request=step.name)
                cell = replace(cell, colour=RED, reasons=(case.reason,), worst=case)
                cases.append(case)
            elif row == 3 and step.type == "latency":
                reason = "slower than the deadline of 1.0 s"
                case = Case(
                    step.name, route, step.name, "during", AMBER, reason, 200, 1.04, kind=SLOW
                )
                cell = replace(cell, colour=AMBER, reasons=(reason,), worst=case)
                cases.append(case)
            cells.append(cell)
    return replace(
        green(),
        plan=tuple(steps),
        perturbations=tuple(step.name for step in steps),
        colour=RED,
        cells=tuple(cells),
        cases=tuple(cases),
    )


def leaking() -> Judgement:
    """Every route holds, and a worker loses connections."""
    finding = "worker w1: open connections to database grow by one per failure (4 to 31)"
    return replace(green(), colour=RED, findings=(finding,))


def harmed() -> Judgement:
    """Every route holds, and a pool lost a connection; one request may have been harmed."""
    lost = HarmFinding(
        "lost", "database-down", RED, "1 of the 4 connections of worker w1 was not opened again",
        "census", True, "database", "w1",
    )  # fmt: skip
    possible = HarmFinding(
        "crosstalk", "cache-slow", GREEN, "w1-8 was possibly answered with a reply to w1-7",
        "ledger", False, "cache", "w1", "127.0.0.1:4711", ("w1-8",), "p-3",
    )  # fmt: skip
    pools = (
        Pool("database-down", "w1", "database", 4, 0, 3),
        Pool("cache-slow", "w1", "cache", 4, 4, 4, 0.1, 1.2),
    )
    return replace(green(), colour=RED, harms=(lost, possible), pools=pools)


def unsteady() -> Judgement:
    """An app that was broken before it began."""
    return replace(
        green(),
        colour=NOT_COVERED,
        steady=Steady(False, "GET /session answers 500 to 31 of 96 requests", 96),
        cells=(),
        perturbations=(),
        routes=(),
    )


def gappy() -> Judgement:
    """Green, but not proven: one perturbation never fired, observations are missing."""
    cells = tuple(
        replace(cell, colour=NOT_COVERED, reasons=("it never fired",), exact=0, possible=0)
        if cell.perturbation == "database-reset"
        else cell
        for cell in green().cells
    )
    return replace(green(), cells=cells, never_fired=("database-reset",), dropped=3)


def only_harmed() -> Judgement:
    """Red by one harm and nothing else."""
    return replace(harmed(), pools=(), harms=harmed().harms[:1])


def slightly_harmed() -> Judgement:
    """Every route holds, and one connection too many stays open."""
    leaked = HarmFinding(
        "leaked", "cache-down", AMBER, "connection 127.0.0.1:9 to cache stays open", "census", True
    )
    return replace(green(), colour=AMBER, harms=(leaked,))


def dropping() -> Judgement:
    """Green, and observations are missing."""
    return replace(green(), dropped=17)


def never_fired() -> Judgement:
    """Green, and two perturbations had no effect."""
    return replace(green(), never_fired=("cache-down", "cache-slow"))


def doubtful() -> Judgement:
    """Nothing went wrong, and no route was hit for certain."""
    cells = tuple(
        replace(
            cell, colour=UNSURE, reasons=("4 requests possibly hit, none for certain",), exact=0
        )
        for cell in green().cells
    )
    return replace(green(), colour=UNSURE, cells=cells)


def bent() -> Judgement:
    """One route degrades under one perturbation."""
    cell = next(cell for cell in mixed().cells if cell.colour == AMBER)
    cells = tuple(
        cell if (each.route, each.perturbation) == (cell.route, cell.perturbation) else each
        for each in green().cells
    )
    return replace(green(), colour=AMBER, cells=cells)


def stopped() -> Judgement:
    """A run that a limit ended, with one finding more than a list shows."""
    findings = tuple(f"cache-down: during it {n} requests got no response" for n in range(12))
    return replace(green(), colour=RED, findings=(*findings, "the run was stopped: its maximum"))


def untouched() -> Judgement:
    """No perturbation touched any route."""
    cells = tuple(
        replace(cell, colour=NOT_COVERED, reasons=("the perturbation did not touch it",))
        for cell in green().cells
    )
    return replace(green(), colour=NOT_COVERED, cells=cells)


def unplaced() -> Judgement:
    """Green, if it were not for an error of Seism."""
    return replace(green(), unplaced=("3 requests are in no cell: GET / under cache-slow",))


def hostile(text: str) -> Judgement:
    """``text`` wherever text can be."""
    case = Case(
        text, text, text, text, RED, text, None, 1.0, text, text, text, False, (text, text), text
    )
    exact = replace(case, exact=True, role="harmed", colour=AMBER)
    other = text + "2"
    return Judgement(
        seed=7,
        plan=(PlannedStep(ToxicSpec(text, text, attributes={text: {text: [text]}}), text, text),),
        colour=RED,
        steady=Steady(True, text, 1, {text: 0.1}, {text: 1.0}),
        routes=(text, other),
        perturbations=(text,),
        cells=(
            Cell(text, text, RED, (text, text), 1, 0, 1, case),
            Cell(other, text, NOT_COVERED, (text,), 1, 0, 0),
        ),
        cases=(case, exact),
        findings=(text,),
        harms=(HarmFinding(text, text, RED, text, text, True, text, text, text, (text,), text),),
        pools=(Pool(text, text, text, 1, None, 0),),
        never_fired=(text, other),
        dropped=1,
        warnings=(text,),
    )


ALL = {
    "green": green(),
    "mixed": mixed(),
    "wide": wide(60),
    "leaking": leaking(),
    "harmed": harmed(),
    "unsteady": unsteady(),
    "gappy": gappy(),
    "only harmed": only_harmed(),
    "slightly harmed": slightly_harmed(),
    "dropping": dropping(),
    "never fired": never_fired(),
    "bent": bent(),
    "doubtful": doubtful(),
    "stopped": stopped(),
    "untouched": untouched(),
    "unplaced": unplaced(),
    **{f"hostile {number}": hostile(text) for number, text in enumerate(HOSTILE)},
}
