"""The verdict on a terminal, or in a log where there is none.

Colour repeats what symbols and words say, so nothing is lost with NO_COLOR, in a pipe
or to the colour-blind. Where the output's encoding is ASCII, the symbols are too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from seism.report.notice import (
    COVERED,
    DIAGNOSIS,
    DROPPED,
    ERROR,
    FINDING,
    FIRED,
    HARM,
    NOTE,
    REMARK,
    STEADY,
    SURVIVED,
    UNPLACED,
    WARNING,
    grouped,
    notices,
)
from seism.report.summary import (
    UNPROVEN,
    answer,
    cause,
    headline,
    outcome,
    reason,
    recoveries,
    recovery,
    tally,
    worst_cells,
)
from seism.report.text import clean, count, seconds
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, UNSURE, Cell, Judgement

MOST = 6
"""Worst cells that are told in full, and lines of any other list."""

STYLES = {
    RED: "bold red",
    AMBER: "yellow",
    GREEN: "green",
    UNSURE: "cyan",
    NOT_COVERED: "dim",
    UNPROVEN: "magenta",
}
SYMBOLS = {RED: "✗", AMBER: "▲", GREEN: "✓", UNSURE: "≈", NOT_COVERED: "·", UNPROVEN: "?"}
ASCII = {RED: "X", AMBER: "!", GREEN: "+", UNSURE: "~", NOT_COVERED: "-", UNPROVEN: "?"}

_HARMS = {
    ERROR: ("Harmed", STYLES[RED]),
    WARNING: ("Harmed, a little", STYLES[AMBER]),
    NOTE: ("Seen, without proof of harm", STYLES[GREEN]),
}
_TITLES = {
    STEADY: ("Steady state not met", STYLES[RED]),
    FINDING: ("Findings about the run or a worker", STYLES[RED]),
    FIRED: ("Never fired", STYLES[UNPROVEN]),
    DROPPED: ("Dropped", STYLES[UNPROVEN]),
    UNPLACED: ("Errors of Seism: in no cell", STYLES[UNPROVEN]),
    COVERED: ("Not covered", STYLES[UNPROVEN]),
    DIAGNOSIS: ("Diagnosis", "bold"),
    REMARK: ("Warnings", "bold"),
    SURVIVED: ("Survived", STYLES[GREEN]),
}
"""Title and style of each kind of notice."""
_ROUTE = 20
"""Columns that a route needs at least to be readable when it is folded."""
_SHORT = {NOT_COVERED: "none"}


def show(
    judgement: Judgement,
    console: Console,
    *,
    paths: Iterable[Path] = (),
    strict: bool = False,
    code: int | None = None,
) -> None:
    """Print the table, what went wrong and why, and the sentence that sums it up.

    ``code``: the exit code of the process; None: the judgement's.
    """
    if judgement.cells:
        _table(judgement, console)
    _worst(judgement, console)
    _list(console, "Recovery", recoveries(judgement), "default")
    for (kind, level), found in grouped(notices(judgement, strict)).items():
        title, style = _HARMS[level] if kind == HARM else _TITLES[kind]
        _list(console, title, [notice.text for notice in found], style)
    _paths(console, paths)
    _verdict(judgement, console, strict, code)


def _table(judgement: Judgement, console: Console) -> None:
    names = [clean(name, 60) for name in judgement.perturbations]
    headers, numbered = _headers(names, console.width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("route", overflow="fold", min_width=12)
    for header in headers:
        table.add_column(Text(header), no_wrap=True, min_width=7)
    cells = {(cell.route, cell.perturbation): cell for cell in judgement.cells}
    for route in judgement.routes:
        row = [_mark(console, cells.get((route, name))) for name in judgement.perturbations]
        table.add_row(Text(clean(route, 120), overflow="fold"), *row)
    console.print(table)
    if numbered:
        for header, name in zip(headers, names, strict=True):
            _print(console, Text.assemble(f"{header} ", (name, "bold")))
    _print(console, Text())


def _headers(names: list[str], width: int) -> tuple[list[str], bool]:
    """Column headers: names with a word a line, or numbers where even these are too wide."""
    stacked = [re.sub(r"(?<=[-_. :/])(?=\w)", "\n", name) for name in names]
    taken = sum(2 + max(7, *map(cell_len, name.split("\n"))) for name in stacked)
    if taken + _ROUTE <= width:
        return stacked, False
    return [f"#{number}" for number in range(1, len(names) + 1)], True


def _mark(console: Console, cell: Cell | None) -> Text:
    colour = cell.colour if cell else NOT_COVERED
    return Text(f"{_symbol(console, colour)} {_SHORT.get(colour, colour)}", STYLES[colour])


def _symbol(console: Console, colour: str) -> str:
    return (ASCII if console.options.ascii_only else SYMBOLS)[colour]


def _worst(judgement: Judgement, console: Console) -> None:
    cells = worst_cells(judgement)
    if not cells:
        return
    _print(console, Text("What went wrong", "bold"))
    for cell in cells[:MOST]:
        title = Text(f"{_symbol(console, cell.colour)} {cell.colour} ", STYLES[cell.colour])
        title.append(clean(cell.route, 120), "bold not dim")
        title.append(f" under {clean(cell.perturbation, 60)}", "default")
        _print(console, title)
        for line in _story(cell):
            _print(console, line, indent=4)
    if len(cells) > MOST:
        _print(console, Text(f"and {count(len(cells) - MOST, 'more cell')} in the reports", "dim"))
    _print(console, Text())


def _story(cell: Cell) -> Iterable[Text]:
    if reason(cell):
        yield Text(reason(cell))
    worst = cell.worst
    if worst is None:
        return
    yield Text(
        f"request {clean(worst.request, 60)}, {clean(worst.phase, 20)}: "
        f"{answer(worst)} after {seconds(worst.duration)}"
    )
    yield Text(cause(worst), "bold" if worst.exact else "italic")
    yield Text(
        f"of {count(cell.requests, 'request')}: {cell.exact} attributed exactly, "
        f"{cell.possible} possibly"
    )
    if recovery(cell):
        yield Text(recovery(cell))
    if worst.exception:
        yield Text(f"raised {clean(worst.exception, 120)}")
    for line in worst.errors[:2]:
        yield Text(f"logged {clean(line)}", "dim")
    if worst.frames:
        yield Text(f"at {clean(worst.frames[-1])}", "dim")


def _list(console: Console, title: str, lines: Iterable[str], style: str) -> None:
    shown = [clean(line, 600) for line in lines]
    if not shown:
        return
    _print(console, Text(title, style))
    for line in shown[:MOST]:
        _print(console, Text(line), indent=4)
    if len(shown) > MOST:
        _print(console, Text(f"and {len(shown) - MOST} more", "dim"), indent=4)
    _print(console, Text())


def _paths(console: Console, paths: Iterable[Path]) -> None:
    found = list(paths)
    if not found:
        return
    _print(console, Text("Reports", "bold"))
    for path in found:
        # A path is never folded: it is there to be copied.
        console.print(Text(f"    {clean(path, 4096)}"), soft_wrap=True)
    _print(console, Text())


def _verdict(judgement: Judgement, console: Console, strict: bool, code: int | None) -> None:
    result = outcome(judgement)
    words = [f"{number} {colour}" for colour, number in tally(judgement)]
    words += [
        f"seed {judgement.seed}",
        f"exit code {judgement.exit_code(strict) if code is None else code}",
    ]
    _print(console, Text(", ".join(words), "dim"))
    _print(console, Text(f"{_symbol(console, result)} {headline(judgement)}", STYLES[result]))


def _print(console: Console, text: Text, indent: int = 0) -> None:
    # Text objects are never read as markup; overlong words are folded, not cut.
    text.overflow = "fold"
    console.print(
        Padding(text, (0, 0, 0, indent), expand=False) if indent else text, highlight=False
    )
