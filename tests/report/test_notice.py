"""Whatever keeps a run from being green has its reason in every report."""

from __future__ import annotations

import html
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

import pytest
from rich.console import Console

from seism.report import github, junit, markdown, sarif
from seism.report import html as page
from seism.report import json as document
from seism.report.notice import ERROR, HARM, NOTE, REMARK, WARNING, notices
from seism.report.summary import reason, worst_cells
from seism.report.terminal import show
from seism.verdict.result import GREEN, Judgement
from tests.report import known


def spoken(text: str) -> str:
    """Without what a report may break a line at, or mark up."""
    return re.sub(r"\s+", "", text.replace("\\|", "|"))


def _terminal(judgement: Judgement, strict: bool) -> str:
    file = io.StringIO()
    show(judgement, Console(file=file, width=1000), strict=strict)
    return file.getvalue()


def _html(judgement: Judgement, strict: bool) -> str:
    return html.unescape(page.render(judgement, strict))


def _json(judgement: Judgement, strict: bool) -> str:
    return "\n".join(_strings(json.loads(document.render(judgement, strict))))


def _junit(judgement: Judgement, strict: bool) -> str:
    root = ET.fromstring(junit.render(judgement, strict))
    said = [element for element in root.iter() if element.tag in ("failure", "error", "system-out")]
    return "\n".join(f"{each.get('message', '')} {each.text}" for each in said)


def _sarif(judgement: Judgement, strict: bool) -> str:
    (run,) = json.loads(sarif.render(judgement, strict))["runs"]
    return "\n".join(_strings(run["results"]))


def _github(judgement: Judgement, strict: bool) -> str:
    return unquote("\n".join(github.commands(judgement, strict)))


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return [str(value)]


REPORTS: dict[str, Callable[[Judgement, bool], str]] = {
    "terminal": _terminal,
    "html": _html,
    "json": _json,
    "junit": _junit,
    "sarif": _sarif,
    "markdown": markdown.render,
    "github": _github,
}
KNOWN = {name: each for name, each in known.ALL.items() if not name.startswith("hostile")}


def reasons(judgement: Judgement, strict: bool) -> list[str]:
    """The first of each kind: what a report must at least say."""
    found: dict[str, str] = {}
    for notice in notices(judgement, strict):
        if notice.level != NOTE and notice.kind != REMARK:
            found.setdefault(f"{notice.kind} {notice.level}", notice.text)
    for cell in worst_cells(judgement):
        found.setdefault(cell.colour, reason(cell))
    return list(found.values())


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("name", KNOWN)
def test_every_report_names_the_reason(name: str, report: str, strict: bool) -> None:
    judgement = KNOWN[name]
    expected = reasons(judgement, strict)
    green = judgement.colour == GREEN and not judgement.exit_code(strict)
    assert bool(expected) == (not green)
    text = spoken(REPORTS[report](judgement, strict))
    for each in expected:
        assert spoken(each) in text


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", known.ALL)
def test_an_error_is_what_makes_the_exit_code(name: str, strict: bool) -> None:
    judgement = known.ALL[name]
    wrong = any(notice.level == ERROR for notice in notices(judgement, strict))
    wrong |= any(cell.colour == "red" or strict for cell in worst_cells(judgement))
    assert wrong == bool(judgement.exit_code(strict))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "only harmed",
        "dropping",
        "never fired",
        "stopped",
        "unsteady",
        "unplaced",
        "untouched",
        "doubtful",
    ],
)
def test_ci_shows_what_failed_it(name: str, strict: bool) -> None:
    """Where no cell is red: GitHub has an error, code scanning a result, JUnit a failed test."""
    judgement = known.ALL[name]
    assert any(line.startswith("::error") for line in github.commands(judgement, strict))
    (run,) = json.loads(sarif.render(judgement, strict))["runs"]
    assert any(result["level"] == "error" for result in run["results"])
    root = ET.fromstring(junit.render(judgement, strict))
    assert int(root.attrib["failures"]) + int(root.attrib["errors"]) > 0


def test_an_amber_harm_is_an_error_where_strict() -> None:
    for strict, level in ((False, WARNING), (True, ERROR)):
        (notice,) = notices(known.slightly_harmed(), strict)
        assert (notice.kind, notice.level, notice.perturbation) == (HARM, level, "cache-down")


def test_what_nothing_came_of_is_one_line_for_a_perturbation() -> None:
    (harm,) = known.slightly_harmed().harms
    harmless = replace(harm, colour=GREEN, requests=("r1",))
    other = replace(harmless, perturbation="db-down")
    harms = (harmless, replace(harmless, requests=("r2",)), other, replace(harmless, requests=()))
    found = notices(replace(known.slightly_harmed(), harms=harms))
    assert [(each.level, each.perturbation) for each in found if each.kind == HARM] == [
        (NOTE, "cache-down"),
        (NOTE, "db-down"),
    ]
    assert [each.text.endswith("; and 2 more like it") for each in found] == [True, False]


def test_what_github_leaves_out_is_counted() -> None:
    findings = tuple(f"{letter} got no response" for letter in "abcdefghijklm")
    lines = list(github.commands(replace(known.stopped(), findings=findings)))
    assert len(lines) == github.MOST
    assert lines[-1].endswith("::4 more in the job's summary")
