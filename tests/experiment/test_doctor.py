"""The doctor: what it says of an app that is ill in one way, and of a healthy one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seism.experiment.doctor import BackendSeen, Examination, findings
from seism.experiment.processes import AppProcess
from seism.journal import AppEnded, Phase, read
from seism_middleware.contract import Clock, Hello, RequestEnded, SendCount
from tests.processes import ROOT
from tests.servers import Valkey

CONFIG = """
[app]
command = ["{python}", "-m", "waitress", "--threads=4", "--listen=127.0.0.1:{{port}}", \
"tests.experiment.doctor_app:app"]
url = "http://127.0.0.1:{{port}}"
ready = "/ready"
env = {{ CACHE = "{{cache.address}}", ILL = "{ill}" }}
[[backend]]
name = "cache"
upstream = "{cache}"
[load]
workers = 2
steady = 6
during = 4
after = 4
[[load.route]]
path = "/"
[[perturbation]]
name = "cache down"
backend = "cache"
type = "down"
"""


@pytest.fixture(scope="module")
def caches() -> Iterator[tuple[str, str]]:
    with Valkey() as cache, Valkey() as other:
        yield f"127.0.0.1:{cache.port}", f"127.0.0.1:{other.port}"


def seism(
    folder: Path, ill: str, caches: tuple[str, str], *words: str, change: tuple[str, str] = ("", "")
) -> tuple[int, str]:
    """Exit code and output of ``seism WORDS`` on the app that is ill in that way."""
    file = folder / "seism.toml"
    text = CONFIG.format(python=sys.executable, ill=ill, cache=caches[0])
    file.write_text(text.replace(*change, 1))
    host, _, port = caches[0].rpartition(":")
    done = subprocess.run(
        [sys.executable, "-m", "seism", *words, "--quiet"],
        cwd=folder,
        # An address that no rewriting finds: its zero goes away where it is used.
        env={**os.environ, "PYTHONPATH": str(ROOT), "PAST": f"{host}:0{port}", "OTHER": caches[1]},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def diagnosis(folder: Path) -> list[str]:
    """What the report in ``folder`` has of the doctor."""
    report = json.loads((folder / "out" / "report.json").read_text())
    return [each["text"] for each in report["notices"] if each["kind"] == "diagnosis"]


@pytest.mark.parametrize(
    ("ill", "said"),
    [
        ("", ""),
        ("bare", "observer: no process of the app has loaded it"),
        ("past", "directly, past the proxy (0 connections, 0 bytes arrived)"),
        ("unused", "nothing arrived, and no connection to"),
        ("jobs", "talks to cache and has not loaded it"),
        ("undeclared", "which no [[backend]] has"),
    ],
)
def test_each_illness_has_its_line(
    ill: str, said: str, caches: tuple[str, str], tmp_path: Path
) -> None:
    code, output = seism(tmp_path, ill, caches, "doctor")
    ailing = [line for line in output.splitlines() if line.startswith("! ")]
    assert code == bool(said), output
    assert len(ailing) == bool(said), output
    assert said in output
    if not said:
        assert "saw 20 of 20 requests" in output
        assert "20 of 20 requests used it" in output


def test_a_run_without_a_steady_state_says_what_to_do(
    caches: tuple[str, str], tmp_path: Path
) -> None:
    code, output = seism(tmp_path, "past", caches, "run", "--report-dir", "out")
    assert code == 3
    assert "put {cache.address} where the app reads the address" in " ".join(output.split())
    assert any("past the proxy" in line for line in diagnosis(tmp_path))
    code, output = seism(tmp_path, "past", caches, "sweep", "--report-dir", "out")
    assert code == 3
    assert "past the proxy" in output


def test_a_healthy_run_has_no_diagnosis(caches: tuple[str, str], tmp_path: Path) -> None:
    seism(tmp_path, "", caches, "run", "--report-dir", "out")
    assert diagnosis(tmp_path) == []


@pytest.mark.parametrize("ill", ["exits", ""])
def test_the_end_of_the_app_is_noticed_while_the_load_goes_on(
    ill: str, caches: tuple[str, str], tmp_path: Path
) -> None:
    """Not only when the aftershock is over: the journal has it where it happened."""
    load = "during = 150\npause_ms = 10"
    seism(tmp_path, ill, caches, "run", "--report-dir", "out", change=("during = 4", load))
    kinds = [
        entry.record.phase if isinstance(entry.record, Phase) else "ended"
        for entry in read(tmp_path / "out" / "journal.jsonl")
        if isinstance(entry.record, Phase | AppEnded)
    ]
    assert kinds.count("ended") == (ill == "exits")
    assert not ill or kinds.index("ended") == kinds.index("during") + 1


CACHE = BackendSeen(
    "cache", "127.0.0.1:1", "127.0.0.1:2", 1, 100, 50, frozenset({("127.0.0.1", 1)})
)
HELLO = Hello("w", 7, Clock("here", 0.0), "wsgi", version="1")


def seen(
    hello: Hello = HELLO, sends: int = 1, told: bool = True, there: bool = True
) -> Examination:
    request = RequestEnded(
        "w-1",
        "GET",
        "/",
        0.0,
        0.01,
        200,
        "complete",
        sends=(SendCount("cache", "127.0.0.1:3", 1, 50),) * sends,
    )
    process = AppProcess(7, "python", libraries={"libpq"}, told=told)
    workers = (hello,) if there else ()
    requests = (request,) if there else ()
    return Examination((CACHE,), (process,), workers, 1, requests, "here", "1")


def test_a_route_that_there_is_not_is_not_blamed_on_the_proxy() -> None:
    nothing = replace(CACHE, connections=0, received=0, lately=0)
    examined = replace(seen(), backends=(nothing,), refused=["GET /nope: 404"])
    (line,) = ailing(examined)
    assert line.endswith(
        "nothing arrived; GET /nope: 404: does the app have that route, and take that method?"
    )


def ailing(examined: Examination) -> list[str]:
    return [finding.text for finding in findings(examined) if not finding.ok]


def test_what_is_seen_in_the_records() -> None:
    assert ailing(seen()) == []
    (line,) = ailing(seen(replace(HELLO, version="0")))
    assert line.startswith("version: worker w has seism-middleware 0, Seism expects 1")
    (line,) = ailing(seen(replace(HELLO, clock=Clock("elsewhere", 0.0))))
    assert line.startswith("clock: worker w has another one")
    (line,) = ailing(seen(replace(HELLO, blind=("uvloop",))))
    assert line.endswith("cannot be attributed through uvloop")
    (line,) = ailing(seen(replace(HELLO, blind=("socket",))))
    assert line.startswith("observer: nothing is patched")
    (line,) = ailing(seen(sends=0))
    assert "no request is known to have sent any (loaded: libpq)" in line
    (line,) = ailing(seen(told=False, there=False))
    assert "SEISM_SIDECAR is not in the environment of process 7 (python)" in line
