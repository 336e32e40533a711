"""``summary.md``: the verdict for a pull request's or a job's page.

The text is GitHub's Markdown, which other forges read as well. Everything that comes from
the app is shown as code, so that it is never markup.
"""

from __future__ import annotations

from collections.abc import Iterator

from seism.report.diagnosis import ACCEPTED, Diagnosis, compared, diagnoses, groups, summed
from seism.report.notice import beside
from seism.report.summary import backend, headline, tally
from seism.report.text import LIMIT, clean
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, SEVERITY, UNSURE, Judgement

SYMBOLS = {
    RED: "🔴 red",
    AMBER: "🟠 amber",
    GREEN: "🟢 green",
    UNSURE: "⚪ unsure",
    NOT_COVERED: "·",
}
MOST = 10
"""Weaknesses that are told."""
COLUMNS = 10
"""The most columns of the table; more do not fit on a forge's page."""


def render(judgement: Judgement, strict: bool = False) -> str:
    """The whole page; with ``strict`` an amber harm is an error, too."""
    lines = [f"## Seism: {headline(judgement)}", ""]
    if judgement.cells:
        lines += [*_table(judgement), ""]
    everything = diagnoses(judgement)
    if everything:
        lines += [f"**{summed(everything)}**", ""]
    if judgement.baseline is not None:
        lines += [code(compared(judgement)), ""]
        lines += [f"- gone: {code(title)}" for title in judgement.baseline.gone[:MOST]]
        known = [each for each in everything if each.state == ACCEPTED]
        lines += [f"- accepted: {code(each.title, 400)} ({each.often})" for each in known[:MOST]]
    found = [each for each in everything if each.state != ACCEPTED]
    for each in found[:MOST]:
        lines += _told(each)
    if len(found) > MOST:
        lines += [f"- and {len(found) - MOST} more in the reports"]
    lines += [f"- {code(notice.line, 700)}" for notice in beside(judgement, strict)]
    figures = ", ".join(f"{number} {colour}" for colour, number in tally(judgement))
    lines += ["", f"{figures or 'no cells'}, seed {judgement.seed}", ""]
    return "\n".join(lines)


def _told(found: Diagnosis) -> Iterator[str]:
    at = f", at {code(found.place)}" if found.place else ""
    yield f"- **{SYMBOLS[found.colour]}** {code(found.title, 400)} ({found.label}{at})"
    told = [group.line for group in groups(found.weakness)[:1]]
    told += [*found.example[1:3], *found.harm[:1]]
    yield from (f"  - {code(text, 600)}" for text in told)
    if found.remedy:  # a text of ours, whose backticks are markup
        yield f"  - {found.remedy}"
    if found.again:
        yield f"  - {code(found.again, 600)}"


def _table(judgement: Judgement) -> list[str]:
    """A column for each perturbation, or, if the page has no room, for each backend."""
    names = judgement.perturbations
    owner = {name: name for name in names}
    if len(names) >= COLUMNS:
        owner = {name: backend(judgement, name) for name in names}
    columns = list(dict.fromkeys(owner.values()))
    shown = columns[: COLUMNS - 1] if len(columns) < COLUMNS else columns[: COLUMNS - 2]
    worst: dict[tuple[str, str], str] = {}
    for cell in judgement.cells:
        column = owner.get(cell.perturbation, cell.perturbation)
        key = (cell.route, column if column in shown else "")
        worst[key] = max(worst.get(key, NOT_COVERED), cell.colour, key=SEVERITY.__getitem__)
    more = [f"{len(columns) - len(shown)} more"] if len(columns) > len(shown) else []
    lines = [
        "| route | " + " | ".join([*map(code, shown), *more]) + " |",
        "|---" * (len(shown) + len(more) + 1) + "|",
    ]
    for route in judgement.routes:
        colours = [SYMBOLS[worst.get((route, name), NOT_COVERED)] for name in shown]
        colours += [SYMBOLS[worst.get((route, ""), NOT_COVERED)] for _ in more]
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
