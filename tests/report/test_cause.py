"""Every red has its cause, with the app's traceback, in every report of a real run."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from tests.processes import ROOT
from tests.test_cli import Seism, cache, seism

__all__ = ["cache", "seism"]

REPORTS = ("junit.xml", "summary.md", "report.html", "report.json", "seism.sarif")
FRAME = r"tests/experiment/small_app\.py:\d+ application"
RAISED = r"redis\.exceptions\.ConnectionError"


def test_the_traceback_is_in_every_report(seism: Seism, tmp_path: Path) -> None:
    seism.experiment("/", "/weak")
    done = seism.run("run")
    assert done.code == 1, done.err + done.out
    folder = tmp_path / "seism-report"
    for name in REPORTS:
        text = html.unescape((folder / name).read_text(encoding="utf-8"))
        for part in (FRAME, RAISED, r"hit by p\d+|\"hit_by\": \"p\d+|perturbation"):
            assert re.search(part, text), f"{part} is not in {name}"
    (result,) = json.loads((folder / "seism.sarif").read_text())["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert place == "tests/experiment/small_app.py"
    assert re.search(rf"at {FRAME.partition(':')[0]}|site-packages/redis", done.out)
    told = "".join((folder / name).read_text(encoding="utf-8") for name in REPORTS)
    for path in (str(ROOT), str(tmp_path)):  # where things are is nobody's business
        assert path not in told
