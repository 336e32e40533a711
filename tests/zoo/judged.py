"""Judges one application of the zoo: its verdict by ``run`` or ``sweep``, and that of
``report`` on the same journal.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seism.verdict.result import NOT_COVERED
from tests.conservation import nothing_is_lost
from tests.debian import INSTALL, unable
from tests.processes import ROOT

HERE = Path(__file__).parent
EXPECTED: dict[str, dict[str, Any]] = {
    path.name.removesuffix(".expected.toml"): tomllib.loads(path.read_text())
    for path in sorted(HERE.glob("*.expected.toml"))
}
KNOWN = [(name, command) for name, tables in EXPECTED.items() for command in tables]
"""(application, command) of each expectation."""
RUN_SECONDS = 200


def wrong(name: str, command: str, folder: Path, backends: Mapping[str, str]) -> list[str]:
    """One line for each thing that differs from ``NAME.expected.toml``; files go to ``folder``."""
    text = (HERE / f"{name}.toml").read_text()
    if '"node"' in text and shutil.which("node") is None:
        unable(f"node is missing: {' '.join((*INSTALL, 'nodejs'))}")
    text = text.replace("{python}", sys.executable).replace("{zoo}", str(HERE))
    (folder / "seism.toml").write_text(text)
    done = seism(folder, command, "--quiet", "--report-dir", "out", env=backends)
    assert (folder / "out" / "report.json").exists(), done.stderr
    report = json.loads((folder / "out" / "report.json").read_text())
    journal = folder / "out" / "journal.jsonl"
    nothing_is_lost(journal)
    again = seism(folder, "report", str(journal), "--report-dir", "again", env=backends)
    said_again = json.loads((folder / "again" / "report.json").read_text())
    found = [*_unexpected(report, done.returncode, EXPECTED[name][command])]
    if again.returncode != done.returncode:
        found.append(f"report: exit code {again.returncode}, not {done.returncode}")
    if command == "run" and matrix(said_again) != matrix(report):
        found.append(f"report: {matrix(said_again)}, not {matrix(report)}")
    # A sweep's own report puts the turns of a probe into one cell.
    if colours(said_again) != colours(report):
        found.append(f"report: {colours(said_again)}, not {colours(report)}")
    return found


def _unexpected(report: dict[str, Any], code: int, expected: dict[str, Any]) -> Iterator[str]:
    if matrix(report) != expected["cells"]:
        yield f"cells: {matrix(report)}, not {expected['cells']}"
    if code != expected["exit_code"]:
        yield f"exit code {code}, not {expected['exit_code']}"
    if report["findings"]:
        yield f"findings: {report['findings']}"
    said = {
        "reasons": "\n".join(reason for cell in report["cells"] for reason in cell["reasons"]),
        "harms": "\n".join(harm["what"] for harm in report["harms"]),
        "notices": "\n".join(notice["text"] for notice in report["notices"]),
    }
    for kind, text in said.items():
        for words in expected.get(kind, ()):
            if words not in text:
                yield f"{kind}: {words!r} is not in {text!r}"


def seism(folder: Path, *words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``seism WORDS`` in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-m", "seism", *words],
        cwd=folder,
        env={**os.environ, **env, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def matrix(report: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The colours of each route, without the probes that were not made."""
    found: dict[str, dict[str, str]] = {}
    for cell in report["cells"]:
        if cell["colour"] != NOT_COVERED:
            found.setdefault(cell["route"], {})[cell["perturbation"]] = cell["colour"]
    return found


def colours(report: dict[str, Any]) -> dict[str, list[str]]:
    """The colours of each route, whatever their perturbations are called."""
    return {route: sorted(row.values()) for route, row in matrix(report).items()}
