"""What the terminal shows of a model: rich renderables, and lines where there is no terminal.

Pure: nothing here looks at a clock, a terminal or the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.rule import Rule
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from seism.report.terminal import ASCII, STYLES, SYMBOLS
from seism.report.text import clean, seconds
from seism.verdict.result import AMBER, GREEN, RED
from seism.watch.model import BUCKET, RANK, VITALS, Cell, Effect, Model, Seen

LABEL = 26
"""Columns of the names at the left, and at the right of what is counted."""
FIGURE = 12
MARKS = {"": "○", GREEN: "●", AMBER: "▲", RED: "✗"}
"""As on the dashboard; ``○`` has no opinion yet."""
PLAIN = {"": "o", GREEN: "+", AMBER: "!", RED: "X"}
BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "._-=+*#@"
PERTURBED = "magenta"
KEYS = "space stand still   + - zoom   k undo everything   q quit"
NAMES = {"latency": "slowest", "cpu": "CPU", "rss": "memory", "connections": "connections"}


@dataclass(frozen=True, slots=True)
class View:
    """How the picture is looked at."""

    now: float
    """The right edge, on the records' clock."""
    column: float = 1.0
    """Seconds of a column, a whole number of buckets."""
    state: str = "live"
    """``live``, ``standing still``, ``away`` ..."""
    where: str = ""
    """The sidecar's address."""
    note: str = ""
    """What is to be known: records that were missed, what was undone."""


class Screen:
    """The whole picture, as large as the terminal is. A rich renderable."""

    def __init__(self, model: Model, view: View) -> None:
        self._model = model
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height, width = options.height or console.height, options.max_width
        parts = _Parts(self._model, self._view, width, console.options.ascii_only)
        lines = console.render_lines(Group(*parts.upper(height)), options, pad=True)
        foot = console.render_lines(parts.foot(), options, pad=True)
        lines = lines[: height - len(foot)]
        blank = [Segment(" " * width)]
        lines += [blank] * (height - len(foot) - len(lines)) + foot
        for number, line in enumerate(lines):
            yield from line
            if number < len(lines) - 1:
                yield Segment.line()


class _Parts:
    def __init__(self, model: Model, view: View, width: int, ascii_only: bool) -> None:
        self._model, self._view = model, view
        self._ascii = ascii_only
        self._marks = PLAIN if ascii_only else MARKS
        self._per = max(1, round(view.column / BUCKET))
        self._columns = max(10, width - LABEL - FIGURE)
        self._end = int(view.now / BUCKET) // self._per

    def upper(self, height: int) -> Iterable[Table | Text | Rule]:
        """From the head to the last red; what a small terminal cannot hold is said."""
        routes, backends = self._chosen(height)
        yield self._head()
        yield self._rule("requests")
        for route in routes:
            yield self._row(route, self._route(route), self._requests(route))
        yield from self._left_out(len(self._model.routes) - len(routes), "route")
        yield self._rule("backends")
        for name in backends:
            yield self._backend(name)
        yield from self._left_out(len(self._model.backends) - len(backends), "backend")
        yield self._rule("the app")
        for name in VITALS:
            yield self._vital(name)
        cells = self._model.cells()
        if cells:
            yield self._rule("routes and what hit them")
            yield self._matrix(cells)
        yield self._rule("not green")
        yield from self._bad()

    def foot(self) -> Text:
        style = "reverse"
        text = f" {KEYS}"
        if self._view.note:
            text += f"   {clean(self._view.note, 100)}"
        return Text(text, style, no_wrap=True, overflow="ellipsis")

    def _chosen(self, height: int) -> tuple[list[str], list[str]]:
        """The rows there is room for: the worst first, then shown in their order."""
        room = max(4, height - 20)
        routes = sorted(self._model.routes)
        worst = sorted(routes, key=lambda route: -self._worst(route))[: max(3, room * 2 // 3)]
        backends = sorted(self._model.backends)[: max(2, room - len(worst))]
        return [route for route in routes if route in worst], backends

    def _worst(self, route: str) -> int:
        first = (self._end - self._columns) * self._per
        row = self._model.routes[route]
        return max((RANK[each.worst] for at, each in row.items() if at >= first), default=0)

    def _left_out(self, number: int, noun: str) -> Iterable[Text]:
        if number > 0:
            yield Text(f"  and {number} more {noun}{'' if number == 1 else 's'}", "dim")

    def _rule(self, title: str) -> Rule:
        return Rule(title, align="left", style="dim", characters="-" if self._ascii else "─")

    def _head(self) -> Text:
        counts = self._model.counts
        worst = max(counts, key=lambda colour: RANK[colour] if counts[colour] else -1)
        symbols = ASCII if self._ascii else SYMBOLS
        head = Text(no_wrap=True, overflow="ellipsis")
        if not any(counts.values()):
            head.append(" no request yet ", "reverse")
        else:
            word = {RED: "RED", AMBER: "AMBER", GREEN: "GREEN"}.get(worst, "…")
            head.append(f" {symbols.get(worst, '')} {word} ", f"reverse {STYLES.get(worst, '')}")
        for colour in (RED, AMBER, GREEN):
            head.append(f"  {counts[colour]:,} {colour}", STYLES[colour])
        active = self._model.active
        head.append(f"  {active} active", f"bold {PERTURBED}" if active else "dim")
        style = "default" if self._view.state == "live" else "bold yellow"
        head.append(f"   {self._view.state}", style)
        head.append(f"   {clean(self._view.where, 60)}", "dim")
        head.append(f"   {self._columns * self._view.column:g} s", "dim")
        return head

    def _row(self, label: str, lane: Text, figure: str) -> Text:
        name = clean(label, 200)
        while cell_len(name) > LABEL - 1:
            name = name[: -2 if name.endswith("…") else -1].rstrip() + "…"
        row = Text(name + " " * (LABEL - cell_len(name)), no_wrap=True, overflow="crop")
        row.append_text(lane)
        row.append(f" {figure}", "dim")
        return row

    def _route(self, route: str) -> Text:
        row = self._model.routes[route]
        lane = Text()
        for column in self._span():
            colours = [row[at].worst for at in self._buckets(column) if at in row]
            if colours:
                colour = max(colours, key=RANK.__getitem__)
                lane.append(self._marks[colour], STYLES.get(colour, "dim"))
            else:
                lane.append(" ")
        return lane

    def _backend(self, name: str) -> Text:
        effects = self._model.backends[name]
        first = self._end - self._columns + 1
        hit = [0] * self._columns
        shown: dict[str, int] = {}
        for effect in effects:
            end = self._view.now if effect.end is None else effect.end
            begin = int(effect.at / BUCKET) // self._per - first
            last = int(end / BUCKET) // self._per - first
            if last < 0 or begin >= self._columns:
                continue
            shown[effect.type] = shown.get(effect.type, 0) + 1
            for column in range(max(0, begin), min(self._columns, last + 1)):
                hit[column] += 1
        lane = Text()
        for count in hit:
            mark = ("#" if self._ascii else "█") if count > 1 else ("=" if self._ascii else "▒")
            lane.append(mark if count else " ", PERTURBED)
        return self._row(name, lane, ", ".join(sorted(shown)) or "calm")

    def _vital(self, name: str) -> Text:
        row = self._model.vitals[name]
        values = [
            max((row[at] for at in self._buckets(column) if at in row), default=None)
            for column in self._span()
        ]
        known = [value for value in values if value is not None]
        top = max(known, default=0)
        bars = PLAIN_BARS if self._ascii else BARS
        lane = Text()
        for value in values:
            level = 0 if not top or value is None else round(value / top * (len(bars) - 1))
            lane.append(" " if value is None else bars[level], "cyan")
        return self._row(NAMES[name], lane, _figure(name, known[-1]) if known else "")

    def _matrix(self, found: Mapping[tuple[str, str], Cell]) -> Table:
        symbols = ASCII if self._ascii else SYMBOLS
        columns = sorted({what for _, what in found})
        table = Table(box=None, padding=(0, 1), pad_edge=False)
        table.add_column("", width=LABEL - 2, no_wrap=True, overflow="ellipsis")
        for what in columns:
            table.add_column(Text(clean(what, 40), PERTURBED))
        for route in sorted({route for route, _ in found}):
            row = []
            for what in columns:
                cell = found.get((route, what))
                if cell is None:
                    row.append(Text("·" if not self._ascii else ".", "dim"))
                else:
                    symbol = symbols.get(cell.colour, "")
                    row.append(Text(f"{symbol} {cell.requests}", STYLES.get(cell.colour, "dim")))
            table.add_row(Text(clean(route, 200)), *row)
        return table

    def _bad(self) -> Iterable[Text]:
        for request in reversed(self._model.bad):
            yield told(self._model, request, self._ascii)
        if not self._model.bad:
            yield Text("nothing", "dim")

    def _span(self) -> range:
        return range(self._end - self._columns + 1, self._end + 1)

    def _buckets(self, column: int) -> range:
        return range(column * self._per, (column + 1) * self._per)

    def _requests(self, route: str) -> str:
        row = self._model.routes[route]
        return (
            f"{sum(row[at].count for c in self._span() for at in self._buckets(c) if at in row):,}"
        )


def told(model: Model, request: Seen, ascii_only: bool = False) -> Text:
    """A request that is not green, why, and what hit it: one line."""
    symbols = ASCII if ascii_only else SYMBOLS
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{symbols.get(request.colour, '')} {request.colour:6}", STYLES[request.colour])
    line.append(clean(request.route, 80), "bold")
    line.append(
        f"  {clean(request.reason or request.status, 120)} after {seconds(request.duration)}"
    )
    line.append(f"  {cause(model, request)}")
    for error in request.errors[:1]:
        line.append(f"  logged {clean(error, 120)}", "dim")
    return line


def cause(model: Model, request: Seen) -> str:
    """What is known to have hit it; what is only possible never reads as certain."""
    if not request.attributions:
        return "no perturbation is attributed to it"
    attribution = max(request.attributions, key=lambda attribution: bool(attribution["exact"]))
    effect = model.effect(attribution)
    what = f"{effect.type} on {effect.proxy}" if effect else attribution["perturbation"]
    sure = "exact" if attribution["exact"] else "possible"
    more = f" and {len(request.attributions) - 1} more" if len(request.attributions) > 1 else ""
    return clean(
        f"{attribution.get('role', 'hit')} by {what} ({sure}, {attribution['evidence']}){more}"
    )


def perturbed(effect: Effect) -> str:
    """A perturbation in a line, where there is no terminal."""
    if effect.end is None:
        return clean(f"began  {effect.proxy}  {effect.toxic}  {effect.type}")
    return clean(f"ended  {effect.proxy}  {effect.toxic}  after {seconds(effect.end - effect.at)}")


def _figure(name: str, value: float) -> str:
    if name in ("latency", "cpu"):
        return seconds(value)
    return f"{value / 2**20:.0f} MiB" if name == "rss" else f"{value:.0f}"
