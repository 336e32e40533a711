"""The verdict on a terminal, or in a log where there is none.

Colour repeats what symbols and words say, so nothing is lost with NO_COLOR, in a pipe
or to the colour-blind. Where the output's encoding is ASCII, the symbols are too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich import box
from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from seism.report.diagnosis import Diagnosis, compared, diagnoses, first, groups, summed
from seism.report.notice import (
    COVERED,
    DIAGNOSIS,
    DROPPED,
    FIRED,
    HARM,
    REMARK,
    STEADY,
    SURVIVED,
    UNPLACED,
    beside,
    grouped,
)
from seism.report.summary import (
    UNPROVEN,
    backend,
    headline,
    outcome,
    recoveries,
    tally,
)
from seism.report.text import clean, count
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, UNSURE, Cell, Judgement

MOST = 6
"""Lines of a list."""
MOST_WEAKNESSES, MOST_CELLS, MOST_TOLD = 20, 4, 5
"""Weaknesses that are told, groups of cells of each, and lines of its example."""

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

_TITLES = {
    STEADY: ("Steady state not met", STYLES[RED]),
    HARM: ("Seen, without proof of harm", STYLES[GREEN]),
    FIRED: ("Never fired", STYLES[UNPROVEN]),
    DROPPED: ("Dropped", STYLES[UNPROVEN]),
    UNPLACED: ("Errors of Seism: in no cell", STYLES[UNPROVEN]),
    COVERED: ("Not covered", STYLES[UNPROVEN]),
    DIAGNOSIS: ("Diagnosis", "bold"),
    REMARK: ("Warnings", "bold"),
    SURVIVED: ("Survived", STYLES[GREEN]),
}
"""Title and style of each kind of notice."""
_ROUTE = 19
"""Columns that a route needs at least to be readable when it is folded."""
_NARROWEST = 12
_COLUMN = 7
"""Columns that a colour needs."""
_LONGEST_TABLES = 60
"""Lines of the tables by backend; where they take more, only what is not green is listed."""
_SHORT = {NOT_COVERED: "none"}


def show(
    judgement: Judgement,
    console: Console,
    *,
    paths: Iterable[Path] = (),
    strict: bool = False,
    code: int | None = None,
    matrix: Judgement | None = None,
) -> None:
    """Print the table, the weaknesses, and the sentence that sums it up.

    ``code``: the exit code of the process; None: the judgement's. ``matrix``: the same judgement
    with fewer columns, for the table alone.
    """
    if judgement.cells:
        _matrix(matrix or judgement, console)
    _weaknesses(judgement, console)
    _list(console, "Recovery", recoveries(judgement), "default")
    for (kind, _), found in grouped(beside(judgement, strict)).items():
        title, style = _TITLES[kind]
        _list(console, title, [notice.text for notice in found], style)
    _paths(console, paths)
    _verdict(judgement, console, strict, code)


def _matrix(judgement: Judgement, console: Console) -> None:
    """One table where it fits, else one for each backend, else what is not green."""
    names = judgement.perturbations
    routes = [clean(route, 120) for route in judgement.routes]
    room = console.width - 1 - min(max(map(cell_len, routes), default=0), max(_ROUTE, len("route")))
    if _width(map(_stacked, names)) <= room:
        _table(judgement, console, names, [_stacked(name) for name in names])
    else:
        blocks = [
            block
            for owner, mine in _by_backend(judgement).items()
            for block in _blocks(owner, mine, room)
        ]
        if len(blocks) * (len(routes) + 5) > _LONGEST_TABLES:
            _not_green(judgement, console)
            return
        for title, columns, headers in blocks:
            _print(console, Text(title, "bold"))
            _table(judgement, console, columns, headers)
    _print(console, Text())


def _by_backend(judgement: Judgement) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in judgement.perturbations:
        found.setdefault(clean(backend(judgement, name), 60), []).append(name)
    return found


Block = tuple[str, list[str], list[str]]
"""Title, the perturbations that are its columns, and their headers."""


def _blocks(owner: str, names: list[str], room: int) -> Iterator[Block]:
    """Tables that fit into ``room`` beside the route; headers do not repeat the backend."""
    mine: list[tuple[str, str]] = []
    for name in names:
        short = re.sub(rf"^{re.escape(owner)}[-_. :/]+(?=.)", "", clean(name, 60))
        header = _stacked(short)
        if mine and _width([each for _, each in mine] + [header]) > room:
            yield owner, [each for each, _ in mine], [each for _, each in mine]
            mine = []
        mine.append((name, header))
    yield owner, [each for each, _ in mine], [each for _, each in mine]


def _stacked(name: str) -> str:
    """A name with a word a line."""
    return re.sub(r"(?<=[-_. :/])(?=\w)", "\n", clean(name, 60))


def _width(headers: Iterable[str]) -> int:
    return sum(2 + max(_COLUMN, *map(cell_len, header.split("\n"))) for header in headers)


def _table(
    judgement: Judgement, console: Console, names: Sequence[str], headers: Sequence[str]
) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    routes = [clean(route, 120) for route in judgement.routes]
    longest = max(map(cell_len, routes), default=0)
    width = max(_NARROWEST, min(longest, console.width - 1 - _width(headers)))
    table.add_column("route", width=width)
    for header in headers:
        table.add_column(Text(header, overflow="fold"), min_width=_COLUMN)
    cells = {(cell.route, cell.perturbation): cell for cell in judgement.cells}
    for route, shown in zip(judgement.routes, routes, strict=True):
        row = [_mark(console, cells.get((route, name))) for name in names]
        # Folded here, as a word's end is no good place to break a route.
        table.add_row(Text("\n".join(chop_cells(shown, width))), *row)
    console.print(table)


def _not_green(judgement: Judgement, console: Console) -> None:
    """A line for each route and colour, and a count of the rest."""
    _print(console, Text("Not green", "bold"))
    for route in judgement.routes:
        mine = [cell for cell in judgement.cells if cell.route == route]
        for colour in (RED, AMBER):
            names = [clean(cell.perturbation, 60) for cell in mine if cell.colour == colour]
            if names:
                _print(console, _line(console, route, colour, names), indent=4)
    rest = [
        f"{number:,} {colour}" for colour, number in tally(judgement) if colour not in (RED, AMBER)
    ]
    if rest:
        cells = count(len(judgement.cells), "cell")
        _print(console, Text(f"the rest of {cells}: {', '.join(rest)}", "dim"), indent=4)
    _print(console, Text())


def _line(console: Console, route: str, colour: str, names: list[str]) -> Text:
    """``red GET /x under a, b and 1 more``, in one line where the route leaves room for it."""
    line = Text(f"{_symbol(console, colour)} {colour} ", STYLES[colour])
    line.append(_shortened(clean(route, 120), console.width - 2 * _ROUTE), "bold not dim")
    line.append(" under ", "default")
    room = console.width - 4 - cell_len(line.plain)
    shown = 1
    while shown < len(names) and cell_len(first(names, shown + 1)) <= room:
        shown += 1
    return line.append(first(names, shown), "default")


def _shortened(route: str, most: int) -> str:
    """Without its middle where it has more than ``most`` columns."""
    if cell_len(route) <= most:
        return route
    return f"{set_cell_size(route, most // 2)}…{route[-(most - most // 2 - 1) :]}"


def _mark(console: Console, cell: Cell | None) -> Text:
    colour = cell.colour if cell else NOT_COVERED
    return Text(f"{_symbol(console, colour)} {_SHORT.get(colour, colour)}", STYLES[colour])


def _symbol(console: Console, colour: str) -> str:
    return (ASCII if console.options.ascii_only else SYMBOLS)[colour]


def _weaknesses(judgement: Judgement, console: Console) -> None:
    found = diagnoses(judgement)
    if not found:
        return
    _print(console, Text(summed(found), "bold"))
    for each in found[:MOST_WEAKNESSES]:
        title = Text(f"{_symbol(console, each.colour)} ", STYLES[each.colour])
        title.append(each.title, "bold not dim")
        _print(console, title.append(f" ({each.label})", "default"))
        for line in _told(each, console):
            _print(console, line, indent=4)
        if each.again:
            # Never folded: it is there to be copied.
            console.print(Text(f"    {each.again}", "dim"), soft_wrap=True, highlight=False)
    if len(found) > MOST_WEAKNESSES:
        _print(console, Text(f"and {len(found) - MOST_WEAKNESSES} more in the reports", "dim"))
    _print(console, Text())


def _told(found: Diagnosis, console: Console) -> Iterator[Text]:
    if found.place:
        yield Text(f"at {found.place}", "bold")
    alike = groups(found.weakness)
    for group in alike[:MOST_CELLS]:
        line = Text(f"{_symbol(console, group.colour)} {group.colour} ", STYLES[group.colour])
        yield line.append(group.where, "default")
    if len(alike) > MOST_CELLS:
        more = sum(len(group.perturbations) for group in alike[MOST_CELLS:])
        routes = [clean(route, 120) for route in found.weakness.routes]
        yield Text(f"and {count(more, 'more cell')} of {first(routes, 3)}", "dim")
    example = [line for line in found.example if not line.startswith("  at ")][:MOST_TOLD]
    told = [*example, *(line.strip() for line in found.example[-1:]), *found.harm, found.remedy]
    told = list(dict.fromkeys(told))
    yield from (Text(text) for text in told if text)


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
    if line := compared(judgement):
        _print(console, Text(line))
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
