"""The command line as a user meets it: real processes, exit codes, one clear line."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import junitparser
import psutil
import pytest

from seism.demo.backends import Backends
from seism.experiment.session import LEASE_SECONDS
from seism.journal import read
from seism.verdict.judgement import judge
from tests.conservation import nothing_is_lost
from tests.processes import ROOT, free_port, heed_interrupts, until

MARK = "SEISM_TEST_MARK"

EXPERIMENT = """
[app]
command = ["{python}", "-m", "waitress", "--listen=127.0.0.1:{{port}}", "--threads=8",
           "tests.experiment.small_app:app"]
url = "http://127.0.0.1:{{port}}"
ready = "/idle"
cwd = "{root}"
env = {{ CACHE = "{{cache.address}}", PYTHONPATH = "{root}" }}
[[backend]]
name = "cache"
upstream = "${{CACHE}}"
[load]
workers = 4
steady = 10
during = 5
after = 8
pause_ms = 5
{routes}
"""
PERTURBATION = """\
[[perturbation]]
name = "cache reset"
backend = "cache"
type = "reset_peer"
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def line(self) -> str:
        """The one line of a user's mistake."""
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("seism: ")]
        assert len(lines) == 1, self.err
        return lines[0]


class Seism:
    """Runs ``seism`` in a folder, and sees to it that nothing is left running."""

    def __init__(self, folder: Path, cache: str) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.env = {**os.environ, "CACHE": cache, MARK: self.mark, "NO_COLOR": "1"}

    def experiment(self, *paths: str, more: str = "", **changes: str) -> None:
        routes = "".join(f'[[load.route]]\npath = "{path}"\n' for path in paths)
        text = EXPERIMENT.format(python=sys.executable, root=ROOT, routes=routes)
        text += PERTURBATION + more
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (self.folder / "seism.toml").write_text(text, encoding="utf-8")

    def start(self, *arguments: str, limit: int = 0) -> subprocess.Popen[str]:
        """``limit``: bytes that a file may have, 0 for any number."""

        def prepared() -> None:
            heed_interrupts()
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.Popen(
            [sys.executable, "-m", "seism", *arguments],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepared,
        )

    def finish(self, process: subprocess.Popen[str]) -> Done:
        out, err = process.communicate(timeout=90)
        assert self.left() == []
        if process.returncode in (0, 1):
            for journal in self.folder.rglob("journal.jsonl"):
                nothing_is_lost(journal)
        return Done(process.returncode, out, err)

    def run(self, *arguments: str) -> Done:
        return self.finish(self.start(*arguments))

    def left(self) -> list[psutil.Process]:
        """Processes of ours that still run."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) != self.mark:
                    continue
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def find(self, *words: str) -> psutil.Process:
        """The one process of ours with ``words`` in its command line, once it is there."""
        found: list[psutil.Process] = []

        def there() -> bool:
            for process in self.left():
                try:
                    line = process.cmdline()
                except psutil.Error:
                    continue
                if all(word in line for word in words) and "guard.py" not in " ".join(line):
                    found.append(process)
            return bool(found)

        until(there)
        return found[0]


@pytest.fixture(scope="module")
def cache() -> Iterator[str]:
    with Backends() as backends:
        yield backends.addresses["cache"]


@pytest.fixture
def seism(tmp_path: Path, cache: str) -> Seism:
    return Seism(tmp_path, cache)


def test_green(seism: Seism, tmp_path: Path) -> None:
    seism.experiment("/")
    done = seism.run("run")
    assert done.code == 0, done.err + done.out
    report = json.loads((tmp_path / "seism-report" / "report.json").read_text())
    assert report["matrix"] == {"GET /": {"cache reset": "green"}}
    assert [step["name"] for step in report["plan"]] == ["cache reset"]
    for name in ("journal.jsonl", "report.json", "junit.xml", "report.html"):
        assert name in done.out
        assert (tmp_path / "seism-report" / name).stat().st_size > 0
    again = seism.run("report", "seism-report/journal.jsonl", "--report-dir", "again")
    assert again.code == 0
    assert json.loads((tmp_path / "again" / "report.json").read_text()) == report


def test_red(seism: Seism, tmp_path: Path) -> None:
    seism.experiment("/", "/weak")
    done = seism.run("run", "--report-dir", "out")
    assert done.code == 1
    assert "GET /weak" in done.out
    assert "ledger" in done.out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["matrix"] == {
        "GET /": {"cache reset": "green"},
        "GET /weak": {"cache reset": "red"},
    }
    failed = [
        case.name
        for suite in junitparser.JUnitXml.fromfile(str(tmp_path / "out" / "junit.xml"))
        for case in suite
        if any(isinstance(result, junitparser.Failure) for result in case.result)
    ]
    cell, weakness = failed
    assert cell == "GET /weak"
    assert weakness.startswith("GET /weak answers 500 when cache resets a connection")


def test_an_open_loop_finds_the_same(seism: Seism, tmp_path: Path) -> None:
    seism.experiment("/", "/weak", **{"[load]\n": "[load]\nrate = 200\n"})
    done = seism.run("run")
    assert done.code == 1, done.err
    matrix = json.loads((tmp_path / "seism-report" / "report.json").read_text())["matrix"]
    assert set(matrix["GET /"].values()) == {"green"}
    assert "red" in matrix["GET /weak"].values()


def test_amber_fails_only_when_strict(seism: Seism) -> None:
    seism.experiment("/mute")
    assert seism.run("run").code == 0
    assert seism.run("run", "--strict").code == 1


def test_no_steady_state(seism: Seism) -> None:
    seism.experiment("/", "/broken")
    done = seism.run("run")
    assert done.code == 3
    assert "GET /broken: 500" in done.out


def test_a_perturbation_that_never_fired_is_named(seism: Seism) -> None:
    seism.experiment("/", more="toxicity = 0.0\n")
    done = seism.run("run")
    assert done.code == 4
    assert "cache reset" in done.out


def test_a_backend_that_is_never_reached_is_named(seism: Seism) -> None:
    seism.experiment("/idle")
    done = seism.run("run")
    assert done.code == 3
    assert "nothing was sent to cache in the control run" in " ".join(done.out.split())


PLAIN_ENV = f'env = {{ PYTHONPATH = "{ROOT}" }}'


def without_placeholders(seism: Seism) -> None:
    """The app without a proxy, with the backend's own address in its environment."""
    seism.experiment(
        "/",
        "/weak",
        **{f'env = {{ CACHE = "{{cache.address}}", PYTHONPATH = "{ROOT}" }}': PLAIN_ENV},
    )


def test_an_app_without_placeholders_is_pointed_at_the_proxies(seism: Seism) -> None:
    without_placeholders(seism)
    done = seism.run("run")
    assert done.code == 1, done.err + done.out
    said = [line for line in done.err.splitlines() if line.startswith("environment CACHE: ")]
    assert re.fullmatch(
        rf"environment CACHE: {seism.env['CACHE']} is now 127\.0\.0\.1:\d+ \(cache\)", said[0]
    )


def test_redirected(seism: Seism) -> None:
    """No setting of it is touched; its pure-Python client connects to the proxy all the same."""
    without_placeholders(seism)
    text = (seism.folder / "seism.toml").read_text().replace("[app]", "[app]\nrewrite = false")
    (seism.folder / "seism.toml").write_text(text)
    assert "nothing was sent to cache" in " ".join(seism.run("run").out.split())
    done = seism.run("run", "--redirect")
    assert done.code == 1, done.err + done.out
    assert f"connects to {seism.env['CACHE']}" in done.err
    assert "evidence: ledger" in " ".join(done.out.split())


def test_a_command_on_the_command_line(seism: Seism) -> None:
    port = free_port()
    seism.experiment("/", "/weak", **{"small_app:app": "no.such.module:app"})
    text = (seism.folder / "seism.toml").read_text()
    url = text.replace('url = "http://127.0.0.1:{port}"', f'url = "http://127.0.0.1:{port}"')
    (seism.folder / "seism.toml").write_text(url)
    done = seism.run(
        "run", "seism.toml", "--report-dir", "out", "--", sys.executable, "-m", "waitress",
        f"--listen=127.0.0.1:{port}", "tests.experiment.small_app:app",
    )  # fmt: skip
    assert done.code == 1, done.err + done.out
    assert "GET /weak" in done.out


def test_an_app_that_is_not_wrapped(seism: Seism) -> None:
    seism.experiment("/idle", **{"small_app:app": "small_app:application"})
    done = seism.run("run")
    assert done.code == 3
    assert "no observation arrived" in " ".join(done.out.split())


INJECTED = {"small_app:app": "small_app:application", "[app]": "[app]\ninject = true"}


def test_an_app_that_is_observed_through_its_environment(seism: Seism) -> None:
    seism.experiment("/", "/weak", **INJECTED)
    done = seism.run("run")
    assert done.code == 1, done.err + done.out
    assert "observing tests.experiment.small_app.application (wsgi) under waitress" in done.err
    assert "evidence: ledger" in " ".join(done.out.split())
    journal = seism.folder / "seism-report" / "journal.jsonl"
    judgement = judge(read(journal))
    assert {(cell.route, cell.colour) for cell in judgement.cells} == {
        ("GET /", "green"), ("GET /weak", "red"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({'"-m"': '"-I", "-m"'}, 2, r"app\.command: Python's -I ignores the environment"),
        (
            {'"-m", "waitress"': '"-m", "tests.experiment.unknown_server"'},
            3,
            r"is not observed \(no",
        ),
    ],
)
def test_an_app_that_cannot_be_observed_so(
    seism: Seism, change: dict[str, str], code: int, said: str
) -> None:
    seism.experiment("/", **INJECTED, **change)
    done = seism.run("run")
    assert re.search(said, done.line())
    assert done.code == code


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"workers =": "worker ="}, 2, r"seism\.toml: load: unknown key 'worker'; did you mean"),
        ({"[load]": "[load"}, 2, r"seism\.toml: .*line"),
        ({"${CACHE}": "127.0.0.1:1"}, 2, r"backend 'cache': upstream: nothing answers at 127\.0"),
        ({"${CACHE}": "no.such.host.invalid:1"}, 2, r"backend 'cache': upstream: nothing answers"),
        ({"reset_peer": "reset_pear"}, 2, r"did you mean 'reset_peer'"),
        (
            {'"cache"': '"cache-prod"', "{cache.": "{cache-prod."},
            2,
            r"cache-prod looks like production; .*--allow cache-prod",
        ),
        ({sys.executable: "/no/such/python"}, 2, r"/no/such/python"),
        ({"{port}": "{prot}"}, 2, r"unknown placeholder \{prot\}; did you mean 'port'"),
        ({"small_app:app": "small_app:nothing"}, 3, r"the app ended with exit code 0 before it"),
    ],
)
def test_bad_input_is_one_line(seism: Seism, change: dict[str, str], code: int, said: str) -> None:
    seism.experiment("/", **change)
    done = seism.run("run")
    assert re.search(said, done.line())
    assert done.code == code


def test_a_report_folder_that_cannot_be(seism: Seism, tmp_path: Path) -> None:
    seism.experiment("/")
    (tmp_path / "file").write_text("")
    done = seism.run("run", "--report-dir", "file/below")
    assert done.code == 2
    assert "file/below: " in done.line()


def test_no_file(seism: Seism) -> None:
    done = seism.run("run", "none.toml")
    assert done.code == 2
    assert "none.toml: No such file" in done.line()


@pytest.mark.parametrize("arguments", [["serve", "--port", "99999"], ["nonsense"], ["run", "--x"]])
def test_bad_arguments(seism: Seism, arguments: list[str]) -> None:
    done = seism.run(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert "Usage: " in done.err


def test_serve_on_a_port_in_use(seism: Seism) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = seism.run("serve", "--port", str(port))
    assert done.code == 2
    assert str(port) in done.line()
    assert "in use" in done.line()


def test_serve_with_a_proxy_port_in_use(seism: Seism) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = f'upstream = "${{CACHE}}"\nlisten = "127.0.0.1:{port}"'
        seism.experiment("/", **{'upstream = "${CACHE}"': listen})
        done = seism.run("serve", "--port", "0", "--config", "seism.toml")
        assert done.code == 2
        assert str(port) in done.line()
        done = seism.run("run")
    assert done.code == 2
    assert str(port) in done.line()


def test_serve_beyond_loopback_wants_a_token(seism: Seism) -> None:
    done = seism.run("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.code == 2
    assert "token" in done.line()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly(seism: Seism, stop: signal.Signals) -> None:
    port = free_port()
    process = seism.start("serve", "--port", str(port))
    assert process.stdout is not None
    assert process.stdout.readline() == f"http://127.0.0.1:{port}\n"
    process.send_signal(stop)
    done = seism.finish(process)
    assert (done.code, "Traceback" in done.err) == (0, False)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(seism: Seism, stop: signal.Signals) -> None:
    seism.experiment("/")
    process = seism.start("run")
    seism.find("seism.experiment.load")
    process.send_signal(stop)
    done = seism.finish(process)
    assert done.code == 130
    assert done.line().startswith("seism: interrupted")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_reports_what_there_was(
    seism: Seism, tmp_path: Path, stop: signal.Signals
) -> None:
    seism.experiment("/", **{"during = 5": "during = 5000"})
    process = seism.start("run")
    folder = tmp_path / "seism-report"
    journal = folder / "journal.jsonl"
    until(lambda: journal.exists() and b'"perturbation.began"' in journal.read_bytes())
    process.send_signal(stop)
    done = seism.finish(process)
    assert done.code == 130
    assert done.line() == "seism: interrupted; seism-report has what there was until then"
    assert "exit code 130" in done.out
    for name in ("report.json", "junit.xml", "report.html"):
        assert (folder / name).is_file()
    told = json.loads((folder / "report.json").read_text())
    assert told["incomplete"] == "the run was interrupted"
    assert {path.name: path.stat().st_mode & 0o077 for path in folder.iterdir()} == dict.fromkeys(
        (path.name for path in folder.iterdir()), 0
    )
    assert "Not proven: the run was interrupted" in done.out
    assert (told["findings"], told["harms"]) == ([], [])


def test_a_second_run_in_the_same_folder_is_refused(seism: Seism, tmp_path: Path) -> None:
    seism.experiment("/", **{"during = 5": "during = 5000"})
    first = seism.start("run")
    journal = tmp_path / "seism-report" / "journal.jsonl"
    until(lambda: journal.exists() and b'"perturbation.began"' in journal.read_bytes())
    before = journal.read_bytes()
    second = seism.start("run")
    done = Done(second.wait(60), *second.communicate())
    assert done.code == 2
    assert f"seism-report: another run (process {first.pid}) writes there" in done.line()
    assert journal.read_bytes().startswith(before)
    assert (journal.parent / "sidecar.log").exists()
    first.send_signal(signal.SIGINT)
    assert seism.finish(first).code == 130


def test_a_second_sidecar_with_the_same_journal_is_refused(seism: Seism, tmp_path: Path) -> None:
    command = ("serve", "--port", "0", "--journal", str(tmp_path / "j.jsonl"))
    first = seism.start(*command)
    assert first.stdout is not None and first.stdout.readline()
    before = (tmp_path / "j.jsonl").read_bytes()
    second = seism.start(*command)
    done = Done(second.wait(60), *second.communicate())
    assert done.code == 2
    assert f"j.jsonl: process {first.pid} writes it" in done.line()
    assert (tmp_path / "j.jsonl").read_bytes() == before
    first.send_signal(signal.SIGINT)
    seism.finish(first)
    for restart in (1, 2):  # the lock goes with its process, and what it wrote stays
        third = seism.start(*command)
        assert third.stdout is not None and third.stdout.readline()
        third.send_signal(signal.SIGINT)
        assert "the earlier journal is now " in seism.finish(third).err
        kept = set(tmp_path.glob("j-*.jsonl"))
        assert len(kept) == restart
        assert any(path.read_bytes().startswith(before) for path in kept)


def test_a_disk_that_is_full_in_mid_run(seism: Seism, tmp_path: Path) -> None:
    """Here the limit of a file's size is what the disk has room for."""
    seism.experiment("/", **{"during = 5": "during = 500"})
    done = seism.finish(seism.start("run", limit=60_000))
    assert done.code == 4
    journal = tmp_path / "seism-report" / "journal.jsonl"
    assert "records lost" in done.line()
    data = journal.read_bytes()
    assert 30_000 < len(data) <= 60_000 and data.endswith(b"\n")
    again = seism.run("report", str(journal), "--report-dir", "again")
    assert again.code == 4
    told = (tmp_path / "again" / "report.json").read_text()
    assert "the journal ends before the plan does" in told
    shown = " ".join(again.out.split())
    assert "Not proven: the journal ends before the plan does" in shown
    # What still fits after a record that did not leaves a gap, which is told as well. Which
    # records those are, and whose, is the disk's choice.
    seqs = [json.loads(line)["seq"] for line in data.splitlines()]
    if seqs[-1] > len(seqs):
        assert "dropped" in shown


def test_a_killed_run_leaves_nothing(seism: Seism) -> None:
    seism.experiment("/")
    process = seism.start("run")
    seism.find("seism.experiment.load")
    process.kill()
    process.communicate(timeout=30)
    until(lambda: not seism.left())


def test_a_run_that_is_killed_in_mid_experiment(seism: Seism, tmp_path: Path) -> None:
    """The toxic goes with the sidecar, and app and load go, long before the lease runs out."""
    seism.experiment("/", **{"during = 5": "during = 2000"})
    process = seism.start("run")
    journal = tmp_path / "seism-report" / "journal.jsonl"
    until(lambda: journal.exists() and b'"perturbation.began"' in journal.read_bytes())
    proxy = seism.find("serve")
    ports = [c.laddr.port for c in proxy.net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(ports) == 2  # the control API and the proxy that has the toxic
    for child in ("waitress", "seism.experiment.load"):
        seism.find(child)
    killed = time.monotonic()
    process.kill()
    process.communicate(timeout=30)
    until(lambda: not seism.left(), LEASE_SECONDS)
    assert time.monotonic() - killed < LEASE_SECONDS
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_sidecar_that_vanishes(seism: Seism) -> None:
    seism.experiment("/")
    process = seism.start("run")
    seism.find("seism.experiment.load")
    seism.find("serve").kill()
    done = seism.finish(process)
    assert done.code == 4
    assert "the sidecar ended with exit code" in done.line()


def test_an_app_that_dies_is_red(seism: Seism, tmp_path: Path) -> None:
    seism.experiment("/", **{"during = 5": "during = 200"})
    process = seism.start("run")
    app = seism.find("waitress")
    journal = tmp_path / "seism-report" / "journal.jsonl"
    until(lambda: journal.exists() and b'"phase":"during"' in journal.read_bytes())
    app.kill()
    done = seism.finish(process)
    assert done.code == 1
    refused = "the app accepted no connection"
    assert refused in (tmp_path / "seism-report" / "report.json").read_text()
    # The console has one example: first came those that were under way, if there were any.
    assert "no response" in " ".join(done.out.split())


def test_help_names_the_exit_codes(seism: Seism) -> None:
    done = seism.run("--help")
    assert done.code == 0
    assert "Exit codes: 0 green, 1 red" in done.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(seism: Seism, shell: str) -> None:
    assert "_SEISM_COMPLETE" in seism.run("completion", shell).out


def test_toxics_of_a_backend_are_its_normal_state(seism: Seism) -> None:
    """They are there in the control run as well, and are nobody's perturbation."""
    toxic = '[[backend.toxic]]\ntype = "latency"\nstream = "upstream"\n'
    seism.experiment("/", more=toxic + "attributes = { latency = 5 }\n")
    done = seism.run("run")
    assert (done.code, done.err.count("Traceback")) == (0, 0), done.out
