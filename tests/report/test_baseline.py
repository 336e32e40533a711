"""Accepted weaknesses, the comparison of a run with them, and that of two reports."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from rich.console import Console

from seism.errors import ConfigurationError
from seism.report import baseline, github, html, junit, markdown, sarif
from seism.report import json as document
from seism.report.notice import ERROR, notices
from seism.report.terminal import show
from seism.verdict.result import AMBER, RED, Judgement
from tests.report import known

TODAY = date(2026, 12, 1)


def report(folder: Path, judgement: Judgement, name: str = "report.json") -> Path:
    path = folder / name
    path.write_text(document.render(judgement), encoding="utf-8")
    return path


def accepted(folder: Path, judgement: Judgement) -> tuple[baseline.Accepted, ...]:
    return baseline.accept(report(folder, judgement), ())


def compared(judgement: Judgement, *entries: baseline.Accepted) -> Judgement:
    return baseline.compare(judgement, entries, "seism-baseline.toml", TODAY)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    for judgement in known.ALL.values():
        entries = tuple(
            replace(each, reason='it is "known" \\', until=TODAY)
            for each in accepted(tmp_path, judgement)
        )
        path = tmp_path / baseline.NAME
        path.write_text(baseline.dump(entries), encoding="utf-8")
        assert baseline.load(path) == entries


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", known.ALL)
def test_what_is_accepted_fails_nothing(tmp_path: Path, name: str, strict: bool) -> None:
    judgement = known.ALL[name]
    found = compared(judgement, *accepted(tmp_path, judgement))
    stopped = any(line.startswith("the run was stopped") for line in judgement.findings)
    assert (found.exit_code(strict) == 1) == stopped
    wrong = any(each.level == ERROR for each in notices(found, strict))
    assert wrong == bool(found.exit_code(strict))
    root = ET.fromstring(junit.render(found, strict))
    failed = int(root.attrib["failures"]) + int(root.attrib["errors"])
    assert bool(failed) == bool(found.exit_code(strict))
    errors = [line for line in github.commands(found, strict) if line.startswith("::error")]
    assert bool(errors) == bool(found.exit_code(strict))


def test_a_new_one_fails_and_the_others_do_not(tmp_path: Path) -> None:
    first, *rest = accepted(tmp_path, known.mixed())
    found = compared(known.mixed(), *rest)
    assert found.exit_code() == 1
    assert found.baseline is not None
    assert found.baseline.new == (first.fingerprint,)
    assert len(found.baseline.accepted) == 2
    (run,) = json.loads(sarif.render(found))["runs"]
    assert [each["baselineState"] for each in run["results"]] == ["new", "unchanged", "unchanged"]
    page = markdown.render(found)
    assert "`seism-baseline.toml: 1 new, 2 accepted, 0 gone`" in page
    assert page.count("- accepted: ") == 2
    file = io.StringIO()
    show(found, Console(file=file, width=100))
    assert "seism-baseline.toml: 1 new, 2 accepted, 0 gone" in file.getvalue()
    assert "(once, accepted)" in file.getvalue()
    assert "1 new, 2 accepted, 0 gone" in html.render(found)


def test_what_is_gone_is_said(tmp_path: Path) -> None:
    found = compared(known.green(), *accepted(tmp_path, known.mixed()))
    assert found.exit_code() == 0
    assert found.baseline is not None
    assert len(found.baseline.gone) == 3
    assert "- gone: `POST /cart answers 500" in markdown.render(found)


@pytest.mark.parametrize(("until", "code"), [(date(2026, 12, 1), 0), (date(2026, 11, 30), 1)])
def test_a_day_ends_it(tmp_path: Path, until: date, code: int) -> None:
    entries = [replace(each, until=until) for each in accepted(tmp_path, known.mixed())]
    assert compared(known.mixed(), *entries).exit_code() == code


def test_worse_than_it_was_is_new(tmp_path: Path) -> None:
    entries = [replace(each, colour=AMBER) for each in accepted(tmp_path, known.mixed())]
    found = compared(known.mixed(), *entries)
    assert found.exit_code() == 1
    assert found.baseline is not None
    assert (len(found.baseline.new), found.baseline.colour) == (2, RED)


def test_reasons_outlive_a_new_report(tmp_path: Path) -> None:
    before = [replace(each, reason="known") for each in accepted(tmp_path, known.bent())]
    after = baseline.accept(report(tmp_path, known.mixed()), before, "new here", TODAY)
    assert [each.reason for each in after] == ["new here", "new here", "known"]
    assert [each.until for each in after] == [TODAY, TODAY, None]


def test_two_reports_differ_by_what_is_new_and_gone(tmp_path: Path) -> None:
    one = report(tmp_path, known.bent(), "one.json")
    other = report(tmp_path, known.mixed(), "other.json")
    found = baseline.difference(one, other)
    assert (len(found.new), len(found.gone), len(found.kept)) == (2, 0, 1)
    assert baseline.difference(other, one).gone == found.new


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "Expected '='"),
        ("weakness = 3", "expected tables [[weakness]]"),
        ("[[weakness]]\ntitle = 'x'", "weakness 1: fingerprint: expected a string"),
        ("[[weakness]]\nfingerprint = 'a'\ncolor = 'red'", "unknown key 'color'"),
        ("[[weakness]]\nfingerprint = 'a'\ncolour = 'green'", "expected amber or red, got 'green'"),
        ("[[weakness]]\nfingerprint = 'a'\nuntil = 'soon'", "expected a day such as 2027-01-31"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "b.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as error:
        baseline.load(path)
    assert said in str(error.value)
    with pytest.raises(ConfigurationError, match="with weaknesses"):
        baseline.difference(path, path)
