"""The text checker: what it finds, what it leaves alone, and the list of exempt files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import prose
from tests.processes import ROOT
from tests.prose import check, exempt, files, findings, main

DATA = ROOT / "tests" / "data" / "prose"
LONGEST = 208
"""Entries in the list of exempt files; only ever lowered."""


TWICE = " ".join(("there", "twice"))
"""Composed, so that this file does not hold it."""


def sample(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


def lines(name: str) -> list[str]:
    """The lines of a file of samples."""
    return sample(name).splitlines()


@pytest.mark.parametrize("sentence", lines("bad.txt"))
def test_each_habit_is_found(sentence: str) -> None:
    assert check("page.md", sentence), sentence


def test_each_pattern_finds_a_sample() -> None:
    """No pattern is dead."""
    text = "\n\n".join(lines("bad.txt"))
    found = {finding.instead for finding in check("page.md", text)}
    assert set(prose.HOUSE.values()) <= found


@pytest.mark.parametrize("sentence", lines("good.txt"))
def test_plain_english_is_left_alone(sentence: str) -> None:
    assert check("page.md", sentence) == []


def test_docstrings_comments_and_messages_are_read_and_code_is_not() -> None:
    found = [(finding.line, finding.found) for finding in check("module.py", sample("module.txt"))]
    assert found == [(1, "Whose"), (9, "What is"), (15, TWICE), (17, TWICE)]


def test_pages_are_read_without_their_code() -> None:
    found = [(finding.line, finding.found) for finding in check("page.md", sample("page.txt"))]
    assert found == [(4, TWICE)]


def test_the_help_of_make_is_read() -> None:
    found = [(finding.line, finding.found) for finding in check("Makefile", sample("make.txt"))]
    assert found == [(2, "What is"), (3, "anew")]


def test_a_finding_is_one_line_with_its_place() -> None:
    (finding,) = check("docs/page.md", f"It is {TWICE}.")
    assert str(finding) == f"docs/page.md:1: '{TWICE}': duplicate"


def test_the_repository_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0, capsys.readouterr().out


def test_the_list_of_exempt_files_only_shrinks() -> None:
    listed = exempt()
    assert listed == sorted(set(listed))
    assert len(listed) <= LONGEST
    assert [path for path in listed if not (ROOT / path).is_file()] == []
    assert set(listed) <= set(files())


@pytest.mark.parametrize("path", exempt())
def test_an_exempt_file_still_has_findings(path: str) -> None:
    """If this fails: ``python -m tests.prose --shorten``."""
    assert findings(path)


def test_the_list_is_shortened_by_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.md").write_text(f"It is {TWICE}.\n")
    (tmp_path / "good.md").write_text("It is a duplicate.\n")
    listed = tmp_path / "exempt.txt"
    listed.write_text("# Why.\nbad.md\ngone.md\ngood.md\n")
    monkeypatch.setattr(prose, "ROOT", tmp_path)
    monkeypatch.setattr(prose, "EXEMPT", listed)
    assert main(["--shorten"]) == 0
    assert listed.read_text() == "# Why.\nbad.md\n"
