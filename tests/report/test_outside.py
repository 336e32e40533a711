"""The report of docs/extending.md, from a package of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from seism.errors import ConfigurationError
from seism.registry import REPORTS, Registry
from tests.outside import code, install
from tests.processes import ROOT

WRITE = """
import sys
from seism.report.writer import write
from tests.report import known
print(*write(known.mixed(), sys.argv[1]))
"""


def test_an_outside_package_brings_a_report(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    entry = code("extending.md", '[project.entry-points."seism.reports"]')
    install(tmp_path / "site", code("extending.md", "def line("), entry)
    done = subprocess.run(
        [sys.executable, "-c", WRITE, str(tmp_path / "reports")],
        env={"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {"chat.txt", "report.json"} < set(done.stdout.split())
    assert "(exit code 1)" in (tmp_path / "reports" / "chat.txt").read_text()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("a/b", "seism.report.json:render", "not the name of a file"),
        (".hidden", "seism.report.json:render", "not the name of a file"),
        ("x.txt", "seism.report.json:__doc__", "not a function"),
        ("x.txt", "seism.report.none:render", "No module named"),
    ],
)
def test_a_report_that_cannot_be_is_named(name: str, value: str, reason: str) -> None:
    registry = Registry(reports=[EntryPoint(name, value, REPORTS)])
    assert registry.reports == {}
    assert reason in registry.failures[0].reason


def test_one_that_fails_keeps_no_other_from_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seism.report import writer
    from tests.report import known

    def failing(judgement: object, strict: bool) -> str:
        raise ConfigurationError("no")

    registry = writer.load_reports()
    registry.reports = {"a.txt": failing, **registry.reports}
    monkeypatch.setattr(writer, "load_reports", lambda: registry)
    with pytest.raises(ConfigurationError) as caught:
        writer.write(known.green(), tmp_path)
    assert "a.txt" in caught.value.__notes__[0]
    assert (tmp_path / "report.json").exists()
