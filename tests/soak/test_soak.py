"""Everything at once for 20 s (``SEISM_SOAK_SECONDS``), on a real ``seism serve``.

In rounds of about ten seconds, every toxic is added, changed and removed at random, under
load from clients that abort, read slowly and half-close. After each round all toxics go,
and then everything must be as it was: connections, descriptors, watchers, memory.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from seism import registry
from seism.journal import read
from seism.protocols.fault import Fault
from seism_middleware.contract import PerturbationBegan, PerturbationEnded
from tests.processes import process, until
from tests.soak.chaos import PROXIES, Chaos

SECONDS = float(os.environ.get("SEISM_SOAK_SECONDS", "20"))
SEED = int(os.environ.get("SEISM_SOAK_SEED", "1"))
ROUND = 10.0
SLOW = 0.05
"""Seconds; answers of the control API that take longer are counted."""
CANCELLED = 200
"""Cancelled entries that the timers' heap may keep."""
GROWTH = 24 * 1024 * 1024
"""Bytes by which the resident memory after a round may differ from that after the second."""


class Sidecar:
    """The process under test, seen from outside."""

    def __init__(self, child: subprocess.Popen[bytes], window: Path) -> None:
        assert child.stdout is not None
        line = child.stdout.readline().decode().strip()
        self.host, _, port = line.removeprefix("http://").rpartition(":")
        self.port = int(port)
        self.times: list[float] = []
        self.slowest: list[tuple[float, str]] = []
        self.process = psutil.Process(child.pid)
        self._window = window

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call, timed. It must succeed."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        began = time.perf_counter()
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            data = response.read()
        took = time.perf_counter() - began
        self.times.append(took)
        if took > SLOW:
            what = body.get("type", sorted(body)) if body else ""
            self.slowest.append((took, f"{method} {what}"))
        assert response.status < 300, (method, path, body, data)
        return json.loads(data) if data else None

    def look(self) -> dict[str, int]:
        """What the process holds, descriptors included."""
        self._window.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        until(self._window.exists)
        held: dict[str, int] = json.loads(self._window.read_text(encoding="utf-8"))
        # Those that were cancelled leave the heap together.
        assert held.pop("Timer") < CANCELLED
        return held | {"descriptors": self.process.num_fds()}


class Load:
    """The process with the backend and the clients."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self.port = self._answer()

    def tell(self, order: str) -> Any:
        self.say(order)
        return self._answer()

    def say(self, line: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(line.encode() + b"\n")
        self._child.stdin.flush()

    def _answer(self) -> Any:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line, "the load has died"
        return json.loads(line)


@contextlib.contextmanager
def soaking(folder: Path) -> Iterator[tuple[Sidecar, Load]]:
    window, journal = folder / "window.json", folder / "journal.jsonl"
    serve = ("serve", "--port", "0", "--seed", str(SEED), "--journal", str(journal))
    with (
        (folder / "serve.log").open("wb") as log,
        process(
            *(sys.executable, "-m", "tests.soak.served", str(window), *serve),
            stdout=subprocess.PIPE, stderr=log,
        ) as served,
        process(
            *(sys.executable, "-m", "tests.soak.load", str(SEED)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as loading,
    ):  # fmt: skip
        sidecar, load = Sidecar(served, window), Load(loading)
        for name in PROXIES:
            sidecar.call("POST", "/proxies", {"name": name, "upstream": f"127.0.0.1:{load.port}"})
        listening = {
            name: proxy["listen"].rpartition(":")
            for name, proxy in sidecar.call("GET", "/proxies").items()
        }
        load.say(json.dumps({name: [at[0], int(at[2])] for name, at in listening.items()}))
        yield sidecar, load


@pytest.mark.timeout(SECONDS * 2 + 120)
def test_soak(tmp_path: Path) -> None:
    chaos = Chaos(SEED)
    counted: dict[str, Counter[str]] = {name: Counter() for name in PROXIES}
    memory: list[int] = []
    known = registry.load().toxics
    every = {name for name, toxic in known.items() if not issubclass(toxic, Fault)}
    with soaking(tmp_path) as (sidecar, load):
        before = sidecar.look()
        end = time.monotonic() + SECONDS
        while len(memory) < 3 or time.monotonic() < end or chaos.used != every:
            one_round(sidecar, load, chaos, counted, min(ROUND, SECONDS / 3))
            assert settled(sidecar, before) == before
            memory.append(sidecar.process.memory_info().rss)
    log = (tmp_path / "serve.log").read_text(encoding="utf-8")
    assert "Traceback" not in log, log[log.index("Traceback") :][:4000]
    perturbations = account(tmp_path / "journal.jsonl")
    print(report(sidecar, memory, counted, perturbations))
    for name in ("plain", "delaying"):
        assert counted[name]["connections"] > 10
        assert counted[name]["cut"] == 0
    assert max(memory[1:]) - memory[1] < GROWTH, memory


def one_round(
    sidecar: Sidecar, load: Load, chaos: Chaos, counted: dict[str, Counter[str]], seconds: float
) -> None:
    assert load.tell("go") == "going"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sidecar.call(*chaos.next())
        time.sleep(0.02)
    sidecar.call("POST", "/reset")
    chaos.reset()
    answer = load.tell("drain")
    assert answer["failures"] == []
    for name, counts in answer["counted"].items():
        counted[name].update(counts)


def settled(sidecar: Sidecar, before: dict[str, int]) -> dict[str, int]:
    """What the process holds once that is ``before`` again, or does not get there."""
    held = sidecar.look()
    with contextlib.suppress(AssertionError):
        until(lambda: held.update(sidecar.look()) or held == before, seconds=10)
    return held


def account(journal: Path) -> Counter[str]:
    """How perturbations ended; each that began must have, once, and after it began."""
    open_: set[str] = set()
    outcomes: Counter[str] = Counter()
    for entry in read(journal):
        if isinstance(entry.record, PerturbationBegan):
            assert entry.record.perturbation not in open_
            open_.add(entry.record.perturbation)
        elif isinstance(entry.record, PerturbationEnded):
            open_.remove(entry.record.perturbation)
            outcomes[entry.record.outcome] += 1
    assert open_ == set()
    return outcomes


def report(
    sidecar: Sidecar,
    memory: list[int],
    counted: dict[str, Counter[str]],
    perturbations: Counter[str],
) -> str:
    """What ``make soak`` shows."""
    times = sidecar.times
    slope = statistics.linear_regression(range(len(memory) - 1), memory[1:]).slope
    p50, p99 = statistics.quantiles(times, n=100)[49::49]
    slow = sum(each > SLOW for each in times)
    sizes = ", ".join(f"{each / 2**20:.1f}" for each in memory)
    lines = [
        f"soak: seed {SEED}, {len(memory)} rounds",
        f"control: {len(times)} answers, p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms",
        f"control: longest {max(times) * 1000:.0f} ms, {slow} above {SLOW * 1000:.0f} ms:",
        *(f"  {took * 1000:.0f} ms {what}" for took, what in sorted(sidecar.slowest)[:-6:-1]),
        f"memory after each round: {sizes} MiB; slope {slope / 1024:+.0f} KiB a round",
        f"perturbations: {perturbations.total()}, {dict(perturbations)}",
        *(f"{name}: {dict(counts)}" for name, counts in counted.items()),
    ]
    return "\n".join(lines)
