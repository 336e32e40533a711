from __future__ import annotations

import io
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from rich.cells import cell_len
from rich.console import Console

from seism.report.terminal import show
from seism.verdict.result import Judgement
from tests.report import known
from tests.report.test_text import ANYTHING

GOLDEN = Path(__file__).parent / "golden"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def shown(judgement: Judgement, width: int = 80, **options: object) -> str:
    file = io.StringIO()
    show(judgement, Console(file=file, width=width, **options))  # type: ignore[arg-type]
    return file.getvalue()


def page(judgement: Judgement, matrix: Judgement) -> str:
    """As ``shown``, with the table of another judgement."""
    file = io.StringIO()
    show(judgement, Console(file=file, width=80), matrix=matrix)
    return file.getvalue()


def words(text: str) -> str:
    """The text as it is read, whatever its lines."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("name", known.ALL)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    for line in shown(known.ALL[name], width).splitlines():
        assert cell_len(line) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_a_person_can_read_the_table(width: int) -> None:
    text = shown(known.mixed(), width)
    table = text.partition("3 weaknesses")[0]
    assert "…" not in table
    row = next(line for line in table.splitlines() if line.startswith("POST /cart"))
    assert "".join(row.split()[2:]) == "✓green✗red✓green✓green✓green✓green"
    heads = table.partition("─")[0].split()
    assert heads.count("cache-") == heads.count("database-") == 3
    assert re.findall("slow|reset|down", table) == ["slow", "reset", "down"] * 2
    folded = "".join(line[: line.index("  ")] for line in table.splitlines() if "  " in line)
    assert "/reports/{year}/{month}/summary-by-department" in folded.replace(" ", "")


@pytest.mark.parametrize("number", [3, 12, 60])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_page_is_as_it_was_approved(width: int, number: int) -> None:
    """``SEISM_RECORD=1`` writes the pages, to be read before they are committed."""
    golden = GOLDEN / f"terminal-{width}-{number}.txt"
    text = "\n".join(line.rstrip() for line in shown(known.wide(number), width).splitlines())
    if os.environ.get("SEISM_RECORD"):
        golden.write_text(f"{text}\n", encoding="utf-8")
    assert f"{text}\n" == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [1, 3, 7, 12, 21, 60, 200])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_with_a_colour_has_its_route(width: int, number: int) -> None:
    lines = re.split("[0-9]+ weakness", shown(known.wide(number), width))[0].splitlines()
    marked = [line for line in lines if re.search("[✗▲✓·] (red|amber|green|none)", line)]
    assert marked
    for line in marked:
        told = re.sub("^ +[✗▲] (red|amber) ", "", line)
        assert any(told.startswith(route[:9]) for route in known.ROUTES), line
    assert len(lines) <= 75


@pytest.mark.parametrize("width", [80, 120])
def test_the_worst_are_told_with_cause_and_evidence(width: int) -> None:
    text = words(shown(known.mixed(), width))
    for part in (
        "✗ POST /cart answers 500 when cache resets a connection (ConnectionError) (once)",
        "at shop/cart.py:41 show",
        "✗ red POST /cart under cache-reset: 500 without an honest 503",
        "catch `redis.RedisError`",
        "See docs/guide/unavailable.md",
        "request w1-204, during: status 500 after 12 ms",
        "hit by p-12 (exact, evidence: ledger)",
        "possibly harmed by p-31 (not exact, evidence: overlap)",
        "exception: redis.exceptions.ConnectionError",
        "could not read cart",
        "▲ amber GET /session under cache-down",
        "the worker is blind for uvloop",
    ):
        assert part in text, part


def test_the_last_line_is_the_verdict() -> None:
    for judgement, line in (
        (known.green(), "✓ Green: 5 routes hold under 6 perturbations."),
        (known.mixed(), "✗ Red: 2 of 5 routes break, under 2 of 6 perturbations."),
        (known.leaking(), "✗ Red: no route breaks, but 1 worker finding."),
        (known.gappy(), "? Not proven: 1 perturbation never fired and 3 observations dropped."),
    ):
        assert shown(judgement).splitlines()[-1] == line
        assert f"exit code {judgement.exit_code()}" in shown(judgement).splitlines()[-2]


def test_gaps_and_findings_are_named() -> None:
    assert "Never fired database-reset" in words(shown(known.gappy()))
    assert "Dropped 3 observations" in words(shown(known.gappy()))
    assert "open connections to database grow" in words(shown(known.leaking()))
    unsteady = words(shown(known.unsteady()))
    assert "Steady state not met GET /session answers 500 to 31 of 96 requests" in unsteady


def test_harm_is_named() -> None:
    text = words(shown(known.harmed(), 120))
    for part in (
        "✗ a pool does not get its connections to database back after database is down (once)",
        "lost under database-down: 1 of the 4 connections of worker w1 was not opened",
        "again (exact, evidence: census)",
        "Seen, without proof of harm crosstalk under cache-slow: w1-8 was possibly answered",
        "with a reply to w1-7 (possible, evidence: ledger)",
        "✗ Red: no route breaks, but 1 harm stays behind.",
    ):
        assert part in text, part


def test_recovery_has_its_figures() -> None:
    text = words(shown(known.mixed(), 120))
    assert "not as before 10.0 s after its end: 90 of 120 requests were not" in text
    assert "Recovery" in text


def test_markup_is_text() -> None:
    text = words(shown(known.hostile("[red]x[/red][/]"), color_system="truecolor"))
    assert "[red]x[/red][/]" in text


@settings(max_examples=50, deadline=None)
@given(ANYTHING)
def test_no_text_reaches_the_terminal_as_a_command(text: str) -> None:
    output = shown(known.hostile(text), force_terminal=True, color_system="truecolor")
    plain = ESCAPE.sub("", output)
    assert all(char == "\n" or char.isprintable() for char in plain)
    assert ESCAPE.sub("", shown(known.hostile(text))) == plain


def test_no_color_leaves_the_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(known.mixed(), force_terminal=True, color_system="truecolor")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)
    assert "✗ red" in ESCAPE.sub("", text)


def test_ascii_output_has_ascii_symbols() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    show(known.mixed(), Console(file=file, width=80))
    file.flush()
    assert b"X red" in raw.getvalue()


def test_a_path_stays_in_one_piece() -> None:
    file = io.StringIO()
    path = Path("/a" * 60) / "report.html"
    show(known.green(), Console(file=file, width=80), paths=[path])
    assert str(path) in file.getvalue()


def test_the_command_that_shows_it_again_stays_in_one_piece() -> None:
    judgement = replace(known.mixed(), replay="seism replay here/journal.jsonl")
    text = shown(judgement, 60)
    assert "    seism replay here/journal.jsonl --only cache-reset --route 'POST /cart'\n" in text


def test_the_table_may_have_fewer_columns_than_the_run() -> None:
    """A sweep's: the figures are those of the files all the same."""
    collapsed = replace(
        known.mixed(), cells=known.mixed().cells[:1], perturbations=known.PERTURBATIONS[:1]
    )
    text = page(known.mixed(), collapsed)
    assert "database-" not in text.partition("weaknesses")[0]
    assert text.splitlines()[-1] == shown(known.mixed()).splitlines()[-1]
    assert text.splitlines()[-2] == shown(known.mixed()).splitlines()[-2]
