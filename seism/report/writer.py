"""All reports that are files, from the entry points of ``seism.reports``."""

from __future__ import annotations

from pathlib import Path

from seism.errors import ConfigurationError
from seism.registry import load_reports
from seism.verdict.result import Judgement


def write(judgement: Judgement, directory: Path | str, *, strict: bool = False) -> dict[str, Path]:
    """Write each report into ``directory``, which is made if need be: {file name: its path}.

    A file appears whole or not at all, so that a CI server never picks up half of one. A report
    that fails keeps no other from being written; its exception is raised in the end.
    Raises OSError if the directory cannot be written, ConfigurationError if the installation is of
    another version, which registered no reports.
    """
    reports = load_reports().reports
    if not reports:
        raise ConfigurationError("reports: none is registered; install this version of Seism again")
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    failures: list[Exception] = []
    for name, render in reports.items():
        try:
            text = render(judgement, strict)
        except Exception as error:
            error.add_note(f"seism: the report {name} could not be made")
            failures.append(error)
            continue
        path = folder / name
        partial = folder / f".{name}.partial"
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
        paths[name] = path
    if failures:
        raise failures[0]
    return paths
