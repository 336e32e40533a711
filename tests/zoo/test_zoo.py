"""Each application of the zoo under ``run`` and ``sweep``, and ``report`` on the same journal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seism.demo.backends import Backends
from seism.verdict.result import NOT_COVERED
from tests.conservation import nothing_is_lost
from tests.debian import INSTALL, unable
from tests.processes import ROOT

pytestmark = pytest.mark.timeout(300)

HERE = Path(__file__).parent
EXPECTED: dict[str, dict[str, Any]] = {
    path.name.removesuffix(".expected.toml"): tomllib.loads(path.read_text())
    for path in sorted(HERE.glob("*.expected.toml"))
}
KNOWN = [(name, command) for name, tables in EXPECTED.items() for command in tables]
RUN_SECONDS = 200


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, str]]:
    with Backends(schema=()) as running:
        yield {name.upper(): at for name, at in running.addresses.items()}


def seism(folder: Path, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
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


@pytest.mark.parametrize(("name", "command"), KNOWN)
def test_the_verdict_is_the_right_one(
    name: str, command: str, backends: dict[str, str], tmp_path: Path
) -> None:
    expected = EXPECTED[name][command]
    text = (HERE / f"{name}.toml").read_text()
    if '"node"' in text and shutil.which("node") is None:
        unable(f"node is missing: {' '.join((*INSTALL, 'nodejs'))}")
    text = text.replace("{python}", sys.executable).replace("{zoo}", str(HERE))
    (tmp_path / "seism.toml").write_text(text)
    done = seism(tmp_path, command, "--quiet", "--report-dir", "out", env=backends)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert matrix(report) == expected["cells"], done.stdout
    assert done.returncode == expected["exit_code"], done.stdout
    assert report["findings"] == []
    said = "\n".join(reason for cell in report["cells"] for reason in cell["reasons"])
    assert all(reason in said for reason in expected.get("reasons", ())), said
    harms = "\n".join(harm["what"] for harm in report["harms"])
    assert all(harm in harms for harm in expected.get("harms", ())), harms
    notices = "\n".join(notice["text"] for notice in report["notices"])
    assert all(notice in notices for notice in expected.get("notices", ())), notices
    journal = tmp_path / "out" / "journal.jsonl"
    nothing_is_lost(journal)
    again = seism(tmp_path, "report", str(journal), "--report-dir", "again", env=backends)
    assert again.returncode == done.returncode, again.stdout
    said_again = json.loads((tmp_path / "again" / "report.json").read_text())
    colours = sorted(colour for row in matrix(said_again).values() for colour in row.values())
    assert colours == sorted(colour for row in matrix(report).values() for colour in row.values())
