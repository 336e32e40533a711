from __future__ import annotations

import json
from pathlib import Path

import pytest

from seism.errors import ConfigurationError
from seism.registry import Registry, load_reports
from seism.report import writer
from seism.report.writer import write
from tests.report import known


@pytest.mark.parametrize("name", known.ALL)
def test_all_reports_are_written(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "seism-report"
    paths = write(known.ALL[name], folder)
    names = {"report.json", "junit.xml", "seism.sarif", "report.html", "summary.md"}
    assert set(paths) == names == set(load_reports().reports)
    assert sorted(folder.iterdir()) == sorted(paths.values())
    for path in paths.values():
        assert path.read_text(encoding="utf-8")


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    write(known.green(), tmp_path)
    paths = write(known.mixed(), tmp_path, strict=True)
    document = json.loads(paths["report.json"].read_text())
    assert document["outcome"] == "red"
    assert document["strict"] is True


def test_equal_judgements_give_equal_files(tmp_path: Path) -> None:
    first = write(known.mixed(), tmp_path / "1")
    second = write(known.mixed(), tmp_path / "2")
    for name in first:
        assert first[name].read_bytes() == second[name].read_bytes()


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        write(known.green(), tmp_path / "file" / "report")


def test_a_stale_installation_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "load_reports", Registry)
    with pytest.raises(ConfigurationError, match="install this version of Seism again"):
        writer.write(known.green(), tmp_path)
    assert not list(tmp_path.iterdir())
