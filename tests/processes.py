"""Processes that tests start: the sidecar and apps; each is stopped by its pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seism.client import Control
from seism_middleware.contract import SIDECAR_VARIABLE
from tests.ports import free_port

ROOT = Path(__file__).parent.parent


@contextmanager
def process(
    *argv: str, stop: int = signal.SIGTERM, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone when the block ends."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}  # type: ignore[dict-item]
    child: subprocess.Popen[bytes] = subprocess.Popen(argv, env=env, **options)  # type: ignore[call-overload]
    try:
        yield child
    finally:
        child.send_signal(stop)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                pipe.close()


def heed_interrupts() -> None:
    """``preexec_fn`` of a process that is to get SIGINT: a shell's background jobs ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def sidecar(journal: Path, *options: str, **env: str) -> Iterator[Control]:
    """A real ``seism serve`` on a free port, journalling to ``journal``."""
    log = journal.with_suffix(".log")
    with (
        log.open("wb") as errors,
        process(
            *(sys.executable, "-m", "seism", "serve", "--port", "0", "--journal", str(journal)),
            *options,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=env,
        ) as child,
    ):
        assert child.stdout is not None
        line = child.stdout.readline().decode().strip()
        assert line.startswith("http://"), log.read_text()
        host, _, port = line.removeprefix("http://").rpartition(":")
        yield Control(host, int(port))


@contextmanager
def app(kind: str, module: str, control: Control, **env: str) -> Iterator[tuple[int, int]]:
    """``module:app`` under waitress (``wsgi``) or uvicorn (``asgi``): its port and pid."""
    port = free_port()
    server = {
        "wsgi": ["waitress", f"--listen=127.0.0.1:{port}", "--threads=40"],
        "asgi": ["uvicorn", "--port", str(port), "--log-level", "warning", "--loop", "asyncio"],
    }[kind]
    env = {SIDECAR_VARIABLE: f"{control.host}:{control.port}", **env}
    with process(sys.executable, "-m", *server, f"{module}:app", env=env) as child:
        wait_for(port, child)
        yield port, child.pid


def wait_for(port: int, child: subprocess.Popen[bytes]) -> None:
    """Until something listens on ``port``."""

    def listens() -> bool:
        assert child.poll() is None, f"it ended with {child.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            return False
        return True

    until(listens)


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Look every 20 ms until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{condition} does not come true"
        time.sleep(0.02)


def settled(read: Callable[[], object], looks: int = 20) -> None:
    """Until what ``read`` gives has stayed the same for ``looks`` looks."""
    seen: list[object] = []

    def stable() -> bool:
        seen.append(read())
        return len(seen) >= looks and seen[-looks:] == [seen[-1]] * looks

    until(stable)
