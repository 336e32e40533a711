"""A real StatsD (npm) that flushes into a real Graphite (carbon, whisper).

Both are installed into folders of their own: Graphite's packages are not part of what the tests
import, and its installer would write into ``/opt`` otherwise. What draws graphs from the files is
Graphite's web application, whose ``/render`` is what a dashboard asks.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import npm
from tests.debian import unable
from tests.ports import free_port
from tests.processes import process, until
from tests.workers import made_once

STATSD = "statsd@0.9.0"
GRAPHITE = ("carbon==1.1.10", "whisper==1.1.10", "graphite-web==1.1.10")
PATIENCE = 100.0
FLUSH_MS = 2000
"""Twice Graphite's second, so that no flush ever overwrites another one's."""

STATSD_CONFIG = {
    "backends": ["./backends/graphite"], "deleteIdleStats": True,
    "graphite": {"legacyNamespace": False},
}  # fmt: skip
"""What docs/howto/statsd.md tells its readers to have."""

CARBON = """
[cache]
STORAGE_DIR = {folder}
LOCAL_DATA_DIR = {folder}/whisper
LOG_DIR = {folder}
PID_DIR = {folder}
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {line}
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = {pickle}
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = {query}
MAX_CREATES_PER_MINUTE = inf
MAX_UPDATES_PER_SECOND = inf
ENABLE_LOGROTATION = False
"""
SCHEMA = "[all]\npattern = .*\nretentions = 1s:1h\n"
READ = """
import json, pathlib, sys, time, whisper

def fetch(file):
    for look in range(50):  # one that is just being made is not whole yet
        try:
            return whisper.fetch(str(file), 0)[1]
        except Exception:
            time.sleep(0.05)
    return []

root = pathlib.Path(sys.argv[1])
found = {}
for file in root.rglob("*.wsp"):
    name = ".".join(file.relative_to(root).with_suffix("").parts)
    found[name] = [value for value in fetch(file) if value is not None]
print(json.dumps(found))
"""
RENDER = """
import json, sys, django
django.setup()
from django.test import Client

answers = {}
for target in sys.argv[1:]:
    response = Client().get("/render", {"target": target, "format": "json", "from": "-50min"})
    assert response.status_code == 200, (target, response.content)
    answers[target] = json.loads(response.content)
print(json.dumps(answers))
"""
SETTINGS = """
SECRET_KEY = "of a test, which serves nobody"
STORAGE_DIR = CONF_DIR = LOG_DIR = {folder!r}
WHISPER_DIR = {folder!r} + "/whisper"
INDEX_FILE = {folder!r} + "/index"
CARBONLINK_HOSTS = []
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
"""


@dataclass(frozen=True)
class Graphite:
    """The running chain; numbers sent to ``statsd`` (``host:port``, UDP) end up in files."""

    statsd: str
    _management: int
    _folder: Path
    _packages: Path

    def series(self) -> dict[str, list[float]]:
        """Name -> all values that Graphite has of it, oldest first."""
        done = subprocess.run(
            [sys.executable, "-c", READ, str(self._folder / "whisper")],
            env={**os.environ, "PYTHONPATH": str(self._packages)},
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        found: dict[str, list[float]] = json.loads(done.stdout)
        return found

    def render(self, *targets: str) -> dict[str, dict[str, list[float]]]:
        """What Graphite draws of each target: the names of the lines, and their values."""
        (self._folder / "local_settings.py").write_text(SETTINGS.format(folder=str(self._folder)))
        paths = (self._folder, self._packages, self._packages / "webapp")
        env = {
            **os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "GRAPHITE_SETTINGS_MODULE": "local_settings",
            "DJANGO_SETTINGS_MODULE": "graphite.settings",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", RENDER, *targets],
            env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return {
            target: {
                line["target"]: [value for value, _ in line["datapoints"] if value is not None]
                for line in lines
            }
            for target, lines in json.loads(done.stdout).items()
        }

    def bad_lines(self) -> int:
        """How many lines StatsD could not read."""
        with socket.create_connection(("127.0.0.1", self._management), 10) as client:
            client.sendall(b"stats\n")
            answer = b""
            while b"END\n" not in answer:
                more = client.recv(4096)
                assert more
                answer += more
        (line,) = [x for x in answer.decode().splitlines() if x.startswith("messages.bad_lines")]
        return int(line.partition(":")[2])


def _install(folder: Path) -> None:
    """Put Graphite's packages into ``folder / "graphite"``, and StatsD beside them."""
    npm.install(folder, STATSD)
    target = folder / "graphite"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
    try:
        done = subprocess.run(
            [*command, *GRAPHITE], env={**os.environ, "GRAPHITE_NO_PREFIX": "True"},
            timeout=PATIENCE, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        unable(f"not done within {PATIENCE:g} s: pip install {' '.join(GRAPHITE)}")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        unable(f"pip install {' '.join(GRAPHITE)}: {last}")


@contextmanager
def graphite(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graphite]:
    """Start both, with what they write below ``folder``; a run installs them once."""
    installed = made_once(tmp_path_factory, "graphite", _install)
    packages, modules = installed / "graphite", installed / "node_modules"
    line, udp, management = free_port(), free_port(), free_port()
    config = folder / "carbon.conf"
    config.write_text(
        CARBON.format(folder=folder, line=line, pickle=free_port(), query=free_port())
    )
    (folder / "storage-schemas.conf").write_text(SCHEMA)
    statsd = {
        "address": "127.0.0.1", "port": udp, "mgmt_address": "127.0.0.1",
        "mgmt_port": management, "flushInterval": FLUSH_MS,
        "graphiteHost": "127.0.0.1", "graphitePort": line, **STATSD_CONFIG,
    }  # fmt: skip
    (folder / "statsd.js").write_text(json.dumps(statsd))
    log = (folder / "graphite.log").open("wb")
    with (
        log,
        process(
            *(sys.executable, str(packages / "bin" / "carbon-cache.py")),
            *(f"--config={config}", "--nodaemon", f"--pidfile={folder / 'carbon.pid'}"),
            *(f"--logdir={folder}", "start"),
            env={"PYTHONPATH": str(packages), "GRAPHITE_ROOT": str(folder)},
            stdout=log,
            stderr=log,
        ) as carbon,
    ):
        until(lambda: _listens(line, carbon))
        with process(
            "node", str(modules / "statsd" / "stats.js"), str(folder / "statsd.js"),
            stdout=log, stderr=log,
        ) as node:  # fmt: skip
            until(lambda: _listens(management, node))
            yield Graphite(f"127.0.0.1:{udp}", management, folder, packages)


def _listens(port: int, child: subprocess.Popen[bytes]) -> bool:
    assert child.poll() is None, f"it ended with {child.returncode}"
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
