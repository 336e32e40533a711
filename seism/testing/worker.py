"""The leader's end of a worker of ``pytest --seism``: a pytest that runs what it is told to."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seism.errors import ConfigurationError
from seism.testing.probe import CLIENTS

START_S = 600.0
"""Maximum time until the tests of a suite are collected."""
LEAVE_S = 5.0
"""What a worker that is told to leave may take."""
FINISH_S = 30.0
"""What the fixtures of a session may take to end."""
TAIL = 3
"""Lines of a worker's output that are told where it ends."""


class Ended(Exception):
    """The worker's process has ended by itself."""


class Late(Exception):
    """Nothing was said in time."""


@dataclass(slots=True)
class Run:
    """One run of a test."""

    passed: bool
    rows: list[list[Any]]
    """Its requests; see ``probe.Probe``."""
    failed: str = ""
    """Why it has not passed, one line."""
    setup: bool = False
    """It never came to the test itself."""
    statuses: dict[str, int | None] = field(init=False)
    """By ``METHOD route``."""

    def __post_init__(self) -> None:
        self.statuses = {row[1]: row[5] for row in self.rows}


class Worker:
    """A context manager: its process runs within it."""

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        ignored: Sequence[str],
        salt: str,
        log: Path,
    ) -> None:
        """``arguments`` are pytest's own, ``ignored`` addresses to which no test's request goes.
        ``log`` gets its output.
        """
        self._log = log
        self._began = self._log.stat().st_size if self._log.exists() else 0
        path = folder / "worker.sock"
        path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(1)
        order = folder / "order.json"
        order.write_text(
            json.dumps(
                {
                    "socket": str(path),
                    "salt": salt,
                    "ignored": list(ignored),
                    "worker": secrets.token_hex(4),
                }
            ),
            encoding="utf-8",
        )
        argv = [
            *(sys.executable, "-m", "pytest", *arguments, "-p", CLIENTS),
            *(f"--seism-worker={order}", "-o", f"cache_dir={folder / 'cache'}"),
        ]
        with open(self._log, "ab") as output:
            self._process = subprocess.Popen(
                argv,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._busy = False
        self.is_warm = False
        """It has run a test: what a session prepares once is there."""
        self._lines: list[bytes] = []
        self._rest = b""
        self._socket = self._accept()
        try:
            self.tests: list[str] = self.hear(START_S)["tests"]
            """The ids of the tests, in their order."""
        except (Late, Ended):
            raise self.refusal() from None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, test: str, *, perturb: str = "") -> None:
        """Have it run ``test``; ``perturb`` (``METHOD route``) is the request it tells of."""
        self._busy = True
        self._say({"run": test, "perturb": perturb})

    def go_on(self) -> None:
        """It need not wait any longer."""
        self._say({"on": True})

    def hear(self, seconds: float) -> dict[str, Any]:
        """Its next message. Raises Late after ``seconds``, Ended if the worker has ended."""
        until = time.monotonic() + seconds
        while not self._lines:
            left = until - time.monotonic()
            if left <= 0:
                raise Late
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                raise Late from None
            except OSError:
                data = b""
            if not data:
                raise Ended
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._lines += whole
        found: dict[str, Any] = json.loads(self._lines.pop(0))
        return found

    def result(self, seconds: float) -> Run:
        """What came of a run. Raises as ``hear``."""
        said = self.hear(seconds if self.is_warm else START_S)
        self._busy, self.is_warm = False, True
        return Run(said["passed"], said["rows"], said["failed"], said["setup"])

    def code(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait()

    def tail(self) -> list[str]:
        """The last lines that it wrote."""
        with open(self._log, "rb") as log:
            log.seek(self._began)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return [line for line in lines if line.strip()][-TAIL:]

    def close(self) -> None:
        """End it with all its descendants; one that is busy only says goodbye to the sidecar."""
        try:
            self._say({"leave": True} if self._busy else {"finish": True})
            self._process.wait(LEAVE_S if self._busy else FINISH_S)
        except (OSError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._socket.close()
        self._server.close()

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            raise Ended from None

    def _accept(self) -> socket.socket:
        self._server.settimeout(0.2)
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            try:
                return self._server.accept()[0]
            except TimeoutError:
                if self._process.poll() is not None:
                    break
        self._server.close()
        raise self.refusal()

    def refusal(self) -> ConfigurationError:
        """Why its tests cannot be run."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        said = " / ".join(self.tail()) or "no output"
        return ConfigurationError(f"pytest: ended with exit code {code} before the tests: {said}")
