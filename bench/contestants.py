"""The contestants: each is one address with our server behind it, and a process."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seism.client import Control
from seism.proxy.pump import PURE_VARIABLE, Pump, PurePump

HERE = Path(__file__).parent
LOAD = HERE.parent / "build" / "bench" / "load"
"""The load generator, once ``build_load`` has made it."""
INSTALL_HAPROXY = "apt-get install -y --no-install-recommends haproxy"
PATIENCE = 20.0
"""Seconds until a process that was started listens."""

DIRECT, SEISM, PURE, HAPROXY, NAIVE = "direct", "Seism", "Seism pure", "HAProxy", "naive"

_HAPROXY = """
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen bench
    bind {listen}
    server bench {upstream}
"""


def build_load() -> None:
    """Make the load generator if it is missing or old. Raises CalledProcessError."""
    subprocess.run(["make", "--silent", "-C", str(HERE), f"LOAD={LOAD}"], check=True)


@dataclass(frozen=True)
class Contestant:
    """``pid`` is 0 where there is no process to account for."""

    name: str
    address: str
    pid: int = 0
    control: Control | None = None
    """Seism's: its proxy ``delayed`` is for toxics."""
    delayed: str = ""


@contextlib.contextmanager
def process(*argv: str, directory: Path | None = None, **environ: str) -> Iterator[tuple[int, str]]:
    """A process until the block ends: its pid, and the first line that it prints."""
    environ = {**os.environ, "PYTHONPATH": str(HERE.parent), **environ}
    child = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=directory, env=environ
    )
    try:
        assert child.stdout is not None
        line = child.stdout.readline().decode().strip()
        if not line:
            raise RuntimeError(f"{' '.join(argv)} ended with {child.wait(PATIENCE)}")
        yield child.pid, line
    finally:
        child.terminate()
        child.wait(PATIENCE)
        if child.stdout is not None:
            child.stdout.close()


@contextlib.contextmanager
def server(port: int = 0) -> Iterator[str]:
    """The server behind all: its address."""
    with process(str(LOAD), "serve", str(port)) as (_, line):
        yield f"127.0.0.1:{line}"


@contextlib.contextmanager
def seism(upstream: str, pure: bool = False) -> Iterator[Contestant]:
    """``seism serve`` with two proxies to ``upstream``, as anybody starts it.

    ``pure`` leaves the compiled pump out. Raises FileNotFoundError if the pump is missing anyway.
    """
    if pure and Pump is PurePump:
        raise FileNotFoundError("the pump is not compiled, Seism is pure Python")
    with tempfile.TemporaryDirectory() as directory:
        journal = f"{directory}/journal.jsonl"
        serve = (sys.executable, "-m", "seism", "serve", "--port", "0", "--journal", journal)
        environ = {PURE_VARIABLE: "1"} if pure else {}
        with process(*serve, directory=Path(directory), **environ) as (pid, line):
            host, _, port = line.removeprefix("http://").rpartition(":")
            control = Control(host, int(port))
            plain, delayed = (
                control.call("POST", "/proxies", {"name": name, "upstream": upstream})["listen"]
                for name in ("plain", "delayed")
            )
            yield Contestant(PURE if pure else SEISM, plain, pid, control, delayed)


@contextlib.contextmanager
def haproxy(upstream: str) -> Iterator[Contestant]:
    """Debian's HAProxy with one thread. Raises FileNotFoundError where it is not installed."""
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise FileNotFoundError(f"HAProxy is not installed: {INSTALL_HAPROXY}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = "127.0.0.1:{1}".format(*probe.getsockname())
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write(_HAPROXY.format(listen=listen, upstream=upstream))
        file.flush()
        child = subprocess.Popen([program, "-db", "-f", file.name], stderr=subprocess.DEVNULL)
        try:
            _until_listening(listen, child)
            yield Contestant(HAPROXY, listen, child.pid)
        finally:
            child.terminate()
            child.wait(PATIENCE)


@contextlib.contextmanager
def naive(upstream: str) -> Iterator[Contestant]:
    """Two greenlets per connection."""
    with process(sys.executable, "-m", "bench.naive", upstream) as (pid, line):
        yield Contestant(NAIVE, f"127.0.0.1:{line}", pid)


def other(text: str) -> Contestant:
    """A proxy that runs already: ``NAME=HOST:PORT`` or ``NAME=HOST:PORT=PID``.

    Raises ValueError for anything else.
    """
    name, address, *pid = text.split("=")
    if not name or ":" not in address or len(pid) > 1:
        raise ValueError(f"{text!r} is not NAME=HOST:PORT or NAME=HOST:PORT=PID")
    return Contestant(name, address, int(pid[0]) if pid else 0)


def _until_listening(address: str, child: subprocess.Popen[bytes]) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), PATIENCE).close()
            return
        time.sleep(0.02)
    raise RuntimeError(f"{child.args!r} does not listen on {address}")
