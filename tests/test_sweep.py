"""A sweep as a user meets it: it gets no list of weaknesses, and finds them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seism.demo.backends import Backends
from seism.demo.planted import Weakness, load
from seism.experiment.point import NO_USE
from seism.experiment.sweep import FEWER
from seism.verdict.result import NEVER
from tests.demo import repaired
from tests.processes import ROOT, until
from tests.test_cli import Done, Seism, cache, seism

__all__ = ["cache", "seism"]

pytestmark = pytest.mark.timeout(1500)

TWO = """\
[sweep]
repeat = 2
after = 8
[[sweep.toxic]]
name = "reset"
type = "reset_peer"
[[sweep.toxic]]
name = "down"
type = "down"
"""
BUG = '        if path == "/weak":\n            raise\n'


def matrix(folder: Path) -> dict[str, dict[str, str]]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    found: dict[str, dict[str, str]] = report["matrix"]
    return found


def test_what_is_weak_is_found_and_what_is_off_is_not_covered(seism: Seism, tmp_path: Path) -> None:
    seism.experiment("/", "/weak", "/idle", more=TWO)
    done = seism.run("sweep")
    assert done.code == 1, done.err + done.out
    assert matrix(tmp_path / "seism-report") == {
        "GET /": {"cache reset #1": "green", "cache down": "green"},
        "GET /weak": {"cache reset #1": "red", "cache down": "red"},
        "GET /idle": {"cache reset #1": "not covered", "cache down": "not covered"},
    }
    assert "4 of 6 possible probes were made" in done.out
    coverage = json.loads((tmp_path / "seism-report" / "coverage.json").read_text())
    assert coverage["saved"] == {"it sends nothing to this backend": 2}
    off = seism.run("sweep", "--without", "reset", "--report-dir", "off")
    assert off.code == 1
    assert matrix(tmp_path / "off")["GET /weak"] == {
        "cache reset #1": "not covered", "cache down": "red",
    }  # fmt: skip
    wrong = seism.run("sweep", "--without", "rest")
    assert (wrong.code, wrong.line()) == (
        2, "seism: --without: no toxic 'rest'; did you mean 'reset'?",
    )  # fmt: skip


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_sweep_that_is_stopped_reports_what_there_was(
    seism: Seism, tmp_path: Path, interrupted: bool
) -> None:
    """By Ctrl-C, or by a limit of its own."""
    limit = "" if interrupted else "[limits]\nseconds = 10\n"
    slow = '[[sweep.toxic]]\nname = "slow"\ntype = "latency"\nattributes = { latency = 200 }\n'
    seism.experiment("/weak", more=limit + TWO.replace("repeat = 2", "repeat = 100") + slow)
    process = seism.start("sweep")
    folder = tmp_path / "seism-report"
    journal = folder / "journal.jsonl"
    if interrupted:
        begun = b'"perturbation.ended"'
        until(lambda: journal.exists() and begun in journal.read_bytes(), 90)
        process.send_signal(signal.SIGINT)
    done = Done(process.wait(90), *process.communicate())
    assert f"exit code {done.code}\n" in done.out
    assert done.err.count("seism: interrupted;") == interrupted
    if interrupted:
        assert done.code == 130
    reason = "the run was interrupted" if interrupted else "its maximum duration of 10 s is over"
    assert reason in (folder / "report.json").read_text()
    assert "the sweep was stopped before it" in (folder / "coverage.json").read_text()
    assert seism.left() == []


def test_faults_of_the_backend_s_protocol(seism: Seism, tmp_path: Path) -> None:
    more = '[[sweep.toxic]]\nname = "loading"\ntype = "redis_loading"\n'
    protocol = 'upstream = "${CACHE}"\nprotocol = "redis"'
    seism.experiment("/", "/weak", more=more, **{'upstream = "${CACHE}"': protocol})
    done = seism.run("sweep")
    assert done.code == 1, done.err + done.out
    assert matrix(tmp_path / "seism-report") == {
        "GET /": {"cache loading": "green"}, "GET /weak": {"cache loading": "red"},
    }  # fmt: skip
    assert "redis_loading on cache" in done.out


def test_the_repaired_app_is_green(seism: Seism, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    source = (ROOT / "tests" / "experiment" / "small_app.py").read_text()
    assert BUG in source
    (app / "small_app.py").write_text(source.replace(BUG, ""))
    seism.experiment("/", "/weak", more=TWO, **{"tests.experiment.small_app": "small_app"})
    file = tmp_path / "seism.toml"
    file.write_text(file.read_text().replace(f'cwd = "{ROOT}"', f'cwd = "{app}"'))
    done = seism.run("sweep")
    assert done.code == 0, done.err + done.out
    colours = {
        colour for row in matrix(tmp_path / "seism-report").values() for colour in row.values()
    }
    assert colours == {"green"}


def test_without_a_steady_state_nothing_is_swept(seism: Seism) -> None:
    seism.experiment("/", "/broken", more=TWO)
    done = seism.run("sweep")
    assert done.code == 3
    assert "GET /broken: 500" in done.line()


@dataclass(frozen=True)
class Sweep:
    """What came of the sweep of an example app."""

    folder: Path
    code: int
    said: str

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return found

    @property
    def coverage(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "coverage.json").read_text())
        return found


def sweep_example(app: Path) -> Sweep:
    """It is told the routes, and nothing else."""
    assert not (app / "planted.toml").exists()
    out = app.parent / f"{app.name}-report"
    with Backends() as backends:
        addresses = {f"DEMO_{name.upper()}": at for name, at in backends.addresses.items()}
        done = subprocess.run(
            [sys.executable, "-m", "seism", "sweep", str(app / "sweep.toml"),
             "--report-dir", str(out)],
            env={**os.environ, **addresses, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            capture_output=True, text=True, timeout=1300, check=False,
        )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Sweep(out, done.returncode, done.stdout)


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sweep]:
    """Of the example with one weakness more, and of the repaired one: mostly waiting, so both
    at once. One that is asked for again, as its test is run again, is made again.
    """
    through = 'self.cache.run("GET", "visits")'
    more = {"example.py": {through: 'self.cache.client.get("visits")'}}
    changes = {"weak": more, "repaired": repaired.REPAIRS}

    def make(name: str) -> Sweep:
        folder = tmp_path_factory.mktemp("sweeps")
        return sweep_example(repaired.copy(folder / name, changes[name]))

    with ThreadPoolExecutor(len(changes)) as pool:
        made = {name: pool.submit(make, name) for name in changes}
    return lambda name: made.pop(name).result() if name in made else make(name)


def test_the_example_s_weaknesses_are_found_and_one_more(sweeps: Callable[[str], Sweep]) -> None:
    new = Weakness("GET /popular", "cache reset", "red", "uncaught exception", "not caught")
    swept = sweeps("weak")
    assert swept.code == 1, swept.said
    planted = (*load(repaired.SOURCE / "planted.toml").weakness, new)
    assert {weakness.kind for weakness in planted} == set(repaired.KINDS)
    assert len(planted) == 11
    cells = swept.report["cells"]
    for weakness in planted:
        reasons = [
            (cell["colour"], reason) for cell in cells for reason in cell["reasons"]
            if cell["route"] == weakness.route
            and cell["perturbation"].partition(" #")[0] == weakness.perturbation
        ]  # fmt: skip
        assert any(
            colour == weakness.colour and repaired.KINDS[weakness.kind] in reason
            for colour, reason in reasons
        ), (weakness, reasons)
    weak = {weakness.route for weakness in planted}
    for cell in cells:
        fine = cell["route"] in weak or cell["colour"] in ("green", "not covered")
        assert fine, cell
    coverage = swept.coverage
    assert sum(coverage["saved"].values()) == coverage["grid"] - coverage["tried"] > 50
    for reason, count in coverage["saved"].items():
        assert f"{count} saved: {reason}" in swept.said


def test_the_repaired_example_is_green(sweeps: Callable[[str], Sweep]) -> None:
    swept = sweeps("repaired")
    assert swept.code == 0, swept.said
    report = swept.report
    assert not report["findings"]
    assert report["colour"] == "green"
    for cell in report["cells"]:
        reasoned = cell["colour"] == "not covered" and cell["reasons"][0] in (NO_USE, NEVER, FEWER)
        assert cell["colour"] == "green" or reasoned, cell
    # A cold start is judged for each route: for the 14 that ask a backend, the one that does not,
    # and the two that check actions.
    assert len({cell["route"] for cell in report["cells"] if cell["colour"] == "green"}) == 17


def test_what_only_a_pair_breaks_is_found(tmp_path: Path) -> None:
    """A second try that nobody catches: each perturbation alone is survived."""
    once_more = """\
        try:
            rows = self.db.run(sql)
        except BackendError:
            rows = self.db.open().run(sql)
        return {"items": dict(rows)}

    def pay("""
    app = repaired.copy(tmp_path / "app")
    annex = app / "annex.py"
    head, _, rest = annex.read_text().partition("        until = time.monotonic() + PATIENCE_S\n")
    sql = '        sql = "SELECT id, name FROM items ORDER BY id DESC LIMIT 5"\n'
    annex.write_text(head + sql + once_more + rest.partition("    def pay(")[2])
    experiment = app / "sweep.toml"
    file = experiment.read_text().partition("[[load.route]]")[0]
    routes = "".join(f'[[load.route]]\npath = "{path}"\n' for path in ("/", "/bestsellers"))
    experiment.write_text(f'{file}{routes}[[sweep.toxic]]\nname = "reset"\ntype = "reset_peer"\n')
    swept = sweep_example(app)
    assert swept.code == 1, swept.said
    found = swept.report["matrix"]["GET /bestsellers"]
    assert found["db reset #1 (SELECT items)"] == "green"
    assert found["db reset #1 (SELECT items) + db reset #2"] == "red"
    red = [cell for cell in swept.report["cells"] if cell["colour"] == "red"]
    assert {cell["route"] for cell in red} == {"GET /bestsellers"}
    assert all(cell["exact"] and cell["reasons"][0].startswith("500") for cell in red)
    pairs = swept.coverage["pairs"]
    assert pairs["possible"] == pairs["tried"] + sum(pairs["saved"].values())
    assert f"{pairs['tried']} of {pairs['possible']} possible pairs were tried" in swept.said
