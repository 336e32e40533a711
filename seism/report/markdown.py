"""``summary.md``: the verdict for a pull request's or a job's page.

The text is GitHub's Markdown, which other forges read as well. Everything that comes from
the app is shown as code, so that it is never markup.
"""

from __future__ import annotations

from seism.report.notice import notices
from seism.report.summary import (
    answer,
    cause,
    headline,
    reason,
    recoveries,
    story,
    tally,
    worst_cells,
)
from seism.report.text import LIMIT, clean, count, seconds
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, UNSURE, Judgement

SYMBOLS = {
    RED: "🔴 red",
    AMBER: "🟠 amber",
    GREEN: "🟢 green",
    UNSURE: "⚪ unsure",
    NOT_COVERED: "·",
}
MOST = 10
"""Cells that are told in full."""


def render(judgement: Judgement, strict: bool = False) -> str:
    """The whole page; with ``strict`` an amber harm is an error, too."""
    lines = [f"## Seism: {headline(judgement)}", ""]
    if judgement.cells:
        lines += [*_table(judgement), ""]
    cells = worst_cells(judgement)
    for cell in cells[:MOST]:
        where = f"{code(cell.route)} under {code(cell.perturbation)}"
        lines += [f"**{SYMBOLS[cell.colour]}** {where}: {code(reason(cell))}", ""]
        if cell.worst is not None:
            worst = cell.worst
            told = [f"{answer(worst)} after {seconds(worst.duration)}", cause(worst)]
            told += story(worst)
            lines += [*(f"- {code(text)}" for text in told), ""]
    if len(cells) > MOST:
        lines += [f"And {count(len(cells) - MOST, 'more cell')} in the reports.", ""]
    found = recoveries(judgement)
    lines += [f"- {code(f'recovery: {each}', 300)}" for each in found[:MOST]]
    if len(found) > MOST:
        lines += [f"- and {len(found) - MOST} more recoveries in the reports"]
    lines += [f"- {code(notice.line, 700)}" for notice in notices(judgement, strict)]
    figures = ", ".join(f"{number} {colour}" for colour, number in tally(judgement))
    lines += ["", f"{figures or 'no cells'}, seed {judgement.seed}", ""]
    return "\n".join(lines)


def _table(judgement: Judgement) -> list[str]:
    names = judgement.perturbations
    cells = {(cell.route, cell.perturbation): cell.colour for cell in judgement.cells}
    lines = [
        "| route | " + " | ".join(map(code, names)) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for route in judgement.routes:
        colours = [SYMBOLS[cells.get((route, name), NOT_COVERED)] for name in names]
        lines.append(f"| {code(route)} | " + " | ".join(colours) + " |")
    return lines


def code(text: object, limit: int = LIMIT) -> str:
    """At most ``limit`` characters of ``text`` as a code span, in a table too (GFM 4.10, 6.3)."""
    shown = clean(text, limit).replace("|", "\\|").replace("\n", " ").strip()
    if not shown:
        return ""
    longest = run = 0
    for character in shown:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
