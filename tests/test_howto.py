"""What the how-to pages and the tutorial's neighbours tell their readers to do works."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seism.demo.scaffold import TEMPLATES
from tests.docs import pages
from tests.graphite import STATSD_CONFIG
from tests.ports import free_port
from tests.processes import ROOT, process, sidecar, until, wait_for
from tests.servers import Valkey

HOWTO = ROOT / "docs" / "howto"
BIN = Path(sys.executable).parent
ENV = {
    **os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PYTHONWARNINGS": "ignore",
    "PATH": f"{BIN}:{os.environ['PATH']}",
}  # fmt: skip


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of each fenced block, in order."""
    for block in pages.blocks((HOWTO / page).read_text(encoding="utf-8")):
        yield block.language, block.text


def written(page: str, folder: Path, **replaced: str) -> list[Path]:
    """The page's files, in ``folder``."""
    paths = []
    for _, text in blocks(page):
        named = re.match(r"# file: (\S+)\n", text)
        if named:
            path = folder / named[1]
            path.parent.mkdir(exist_ok=True)
            for old, new in replaced.items():
                text = text.replace(old, new)
            path.write_text(text, encoding="utf-8")
            paths.append(path)
    return paths


def records(journal: Path, kind: str) -> list[dict[str, Any]]:
    lines = journal.read_bytes().split(b"\n")[:-1]
    return [one for one in map(json.loads, lines) if one["kind"] == kind]


COMMANDS = [
    text.strip() for language, text in blocks("wrap.md") if language == "sh" and "8000" in text
]


def test_every_framework_is_run() -> None:
    folders = {re.match(r"# file: (\w+)/", text) for _, text in blocks("wrap.md")} - {None}
    assert {match[1] for match in folders if match} == set(frameworks())


def frameworks() -> dict[str, str]:
    """Folder -> the command that the page has for it."""
    names = []
    for _, text in blocks("wrap.md"):
        named = re.match(r"# file: (\w+)/", text)
        if named and named[1] not in names:
            names.append(named[1])
    return dict(zip(names, COMMANDS, strict=True))


@pytest.mark.parametrize("name", frameworks())
def test_each_line_observes(name: str, tmp_path: Path) -> None:
    written("wrap.md", tmp_path)
    port = free_port()
    command = shlex.split(frameworks()[name].replace("8000", str(port)))
    command[0] = str(BIN / command[0])
    journal = tmp_path / "journal.jsonl"
    env = {**ENV, "PYTHONPATH": f"{tmp_path / name}:{ROOT}"}
    with sidecar(journal) as control:
        env["SEISM_SIDECAR"] = f"{control.host}:{control.port}"
        with process(*command, cwd=tmp_path / name, env=env) as child:
            wait_for(port, child)
            done = subprocess.run(
                ["curl", "--silent", "--fail", f"http://127.0.0.1:{port}/items/blue"],
                capture_output=True, text=True, timeout=30, check=True,
            )  # fmt: skip
            assert "blue" in done.stdout
            until(lambda: records(journal, "request.ended"))
    (ended,) = records(journal, "request.ended")
    assert (ended["status"], ended["body"]) == (200, "complete")
    assert ended["route"] in ("/items/{name}", "/items/blue")


def sh(page: str, folder: Path, having: str) -> None:
    """Run the page's block with that text in it."""
    (text,) = (text for language, text in blocks(page) if language == "sh" and having in text)
    subprocess.run(["sh", "-ec", text], cwd=folder, env=ENV, timeout=60, check=True)


def test_the_pipelines_are_copied(tmp_path: Path) -> None:
    sh("ci.md", tmp_path, "Jenkinsfile")
    got = {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert got == {path.read_bytes() for path in (TEMPLATES / "ci").iterdir()}


def test_the_dashboard_is_copied(tmp_path: Path) -> None:
    sh("statsd.md", tmp_path, "dashboard.json")
    assert json.loads((tmp_path / "seism-dashboard.json").read_text())["title"] == "Seism"


def test_statsd_is_configured_as_in_the_tests() -> None:
    """tests/graphite.py runs a real one with it."""
    (text,) = (text for language, text in blocks("statsd.md") if language == "json")
    shown = json.loads(text)
    assert {key: shown[key] for key in STATSD_CONFIG} == STATSD_CONFIG


@pytest.mark.timeout(200)
def test_spans_say_what_hit_them(tmp_path: Path) -> None:
    with Valkey() as valkey:
        written("opentelemetry.md", tmp_path, **{"127.0.0.1:6379": f"127.0.0.1:{valkey.port}"})
        done = subprocess.run(
            [sys.executable, "-m", "seism", "run", "seism.toml"],
            cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    spans = [json.loads(line) for line in (tmp_path / "spans.jsonl").read_text().splitlines()]
    file = tomllib.loads((tmp_path / "seism.toml").read_text())
    trace = file["load"]["route"][0]["headers"]["traceparent"].split("-")[1]
    observed = [span for span in spans if "seism.request" in span["attributes"]]
    ours = [span for span in observed if span["context"]["trace_id"] == f"0x{trace}"]
    assert len(ours) > 20
    events = {span["attributes"]["seism.request"]: span["events"] for span in ours}
    attributions = records(tmp_path / "seism-report" / "journal.jsonl", "attribution")
    hit = {
        attribution["request"]: attribution["perturbation"]
        for attribution in attributions
        if attribution["exact"]
    }
    assert len(hit) >= 10
    assert {request for request, found in events.items() if found} == set(hit)
    for request, perturbation in hit.items():
        ((event,),) = (events[request],)
        assert event["name"] == "seism.perturbation"
        assert event["attributes"]["seism.perturbation"] == perturbation
        assert event["attributes"]["seism.exact"] is True


def test_the_switch_is_at_hand(tmp_path: Path) -> None:
    """The staging page's files are right, chaos is on in one only, and its DELETE ends it."""
    names = written("staging.md", tmp_path)
    for path in names:
        if path.suffix == ".toml":
            path.write_text(path.read_text().replace(":15432", ":0"))
            sh_check = [sys.executable, "-m", "seism", "check", path.name]
            subprocess.run(sh_check, cwd=tmp_path, env=ENV, timeout=30, check=True)
    with sidecar(tmp_path / "calm.jsonl", str(tmp_path / "calm.toml")) as control:
        assert control.proxies()["db"]["listen"]
    with sidecar(tmp_path / "journal.jsonl", str(tmp_path / "chaos.toml")) as control:
        (text,) = (t for language, t in blocks("staging.md") if "seism/chaos" in t)
        commands = [line.partition("#")[0].split() for line in text.splitlines() if "curl" in line]
        running = []
        for command in commands:
            url = command[-1].replace("127.0.0.1:8474", f"{control.host}:{control.port}")
            done = subprocess.run(
                [*command[:-1], "--silent", "--fail", url],
                capture_output=True, text=True, timeout=30, check=True,
            )  # fmt: skip
            running.append(json.loads(done.stdout)["running"])
        assert running == [True, False]
        env = {**ENV, "SEISM_SIDECAR": f"{control.host}:{control.port}"}
        drill = [sys.executable, "drill.py"]
        subprocess.run(drill, cwd=tmp_path, env=env, timeout=30, check=True, capture_output=True)
        assert control.proxies()["db"]["toxics"] == []
