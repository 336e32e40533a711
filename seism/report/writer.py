"""All reports that are files, from one list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seism.report import html, json, junit, markdown, sarif
from seism.verdict.result import Judgement

Render = Callable[[Judgement, bool], str]
"""(judgement, strict) -> the whole text of one report."""

REPORTS: dict[str, Render] = {
    "report.json": json.render,
    "junit.xml": junit.render,
    "seism.sarif": sarif.render,
    "report.html": html.render,
    "summary.md": markdown.render,
}
"""File name -> its view. A new report is one module and one line here."""


def write(judgement: Judgement, directory: Path | str, *, strict: bool = False) -> dict[str, Path]:
    """Write each report into ``directory``, which is made if need be: {file name: its path}.

    A file appears whole or not at all, so that a CI server never picks up half of one.
    Raises OSError if the directory cannot be written.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, render in REPORTS.items():
        path = folder / name
        partial = folder / f".{name}.partial"
        partial.write_text(render(judgement, strict), encoding="utf-8", newline="\n")
        partial.replace(path)
        paths[name] = path
    return paths
