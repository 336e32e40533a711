"""The pytest plug-in, in sessions of pytest's own, on a real sidecar and a real backend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.processes import ROOT
from tests.test_cli import Seism, cache, seism

__all__ = ["cache", "seism"]

SUITE = """
import socket

import pytest

from seism.errors import SeismError

UPSTREAM = {upstream!r}


@pytest.fixture
def db(seism_proxy):
    return seism_proxy("db", UPSTREAM)


def ask(db):
    host, _, port = db.get()["listen"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as client:
        client.sendall(b"PING\\r\\n")
        return client.recv(20)


@pytest.mark.seism(quiet=["db"])
def test_plain(db):
    assert ask(db) == b"+PONG\\r\\n"


@pytest.mark.seism(fired=["db"])
def test_fired(db):
    with db.toxic("latency", stream="upstream", latency=1):
        assert ask(db) == b"+PONG\\r\\n"


@pytest.mark.seism(fired=["db"])
def test_never_fired(db):
    with db.toxic("latency", stream="upstream", latency=1):
        pass


@pytest.mark.seism(quiet=["db"])
def test_not_quiet(db):
    with db.toxic("latency", stream="upstream", latency=1):
        ask(db)


def test_wrong_by_itself(db):
    with db.toxic("reset_peer", stream="upstream"):
        ask(db)


def test_nothing_is_patched():
    assert "gevent" not in socket.socket.__module__


def test_without_seism():
    pass
"""


def run(seism: Seism, *arguments: str, code: str = SUITE) -> subprocess.CompletedProcess[str]:
    (seism.folder / "test_it.py").write_text(code.format(upstream=seism.env["CACHE"]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:randomly", *arguments],
        cwd=seism.folder, env={**seism.env, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert seism.left() == []
    return done


def test_fixtures_and_expectations(seism: Seism) -> None:
    done = run(seism, "-q", "-rA")
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes = {
        line.split("::")[1].split(" ")[0]: line.split(" ")[0]
        for line in done.stdout.splitlines()
        if line.startswith(("PASSED test_it", "FAILED test_it"))
    }
    failed = {"test_never_fired", "test_not_quiet", "test_wrong_by_itself"}
    assert {name for name, is_ in outcomes.items() if is_ == "FAILED"} == failed
    assert len(outcomes) == 7
    assert "nothing was perturbed on db" in done.stdout
    assert "db was perturbed" in done.stdout
    assert "seism timeline" in done.stdout
    assert "begins: reset_peer on db at byte 0 of 127.0.0.1:" in done.stdout


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("@pytest.mark.seism(fird=['db'])\ndef test_x(seism_proxy): ...", "takes fired and quiet"),
        ("@pytest.mark.seism(fired=['db'])\ndef test_x(): ...", "needs the fixture seism_sidecar"),
    ],
)
def test_a_wrong_marker_is_said(seism: Seism, mark: str, said: str) -> None:
    done = run(seism, "-q", code=f"import pytest\n{mark}\n")
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_inactive_unless_used(seism: Seism) -> None:
    code = """
import sys
def test_x():
    loaded = [name for name in sys.modules if name.split(".")[0] in ("gevent", "seism")]
    assert loaded == ["seism", "seism.pytest_plugin"]
"""
    done = run(seism, "-q", code=code)
    assert done.returncode == 0, done.stdout


def test_xdist(seism: Seism) -> None:
    pytest.importorskip("xdist")
    code = """
import time
import pytest
@pytest.mark.parametrize("number", range(6))
def test_one(seism_proxy, seism_sidecar, number, worker_id):
    proxy = seism_proxy("db", {upstream!r})
    with open("sidecars", "a") as file:
        file.write(f"{{worker_id}} {{seism_sidecar.address}}\\n")
    assert set(seism_sidecar.proxies()) == {{"db"}}
"""
    done = run(seism, "-q", "-n", "2", code=code)
    assert done.returncode == 0, done.stdout
    pairs = {tuple(line.split()) for line in (seism.folder / "sidecars").read_text().splitlines()}
    assert len({worker for worker, _ in pairs}) == len({address for _, address in pairs}) == 2


def test_a_killed_session_leaves_nothing(seism: Seism, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import time\ndef test_x(seism_sidecar):\n"
        "    open('up', 'w').close()\n    while True: time.sleep(0.1)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q"], cwd=tmp_path,
        env={**seism.env, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    from tests.processes import until

    until(lambda: (tmp_path / "up").exists())
    assert any("serve" in found.cmdline() for found in seism.left())
    psutil.Process(process.pid).kill()
    process.wait(10)
    until(lambda: not seism.left())
