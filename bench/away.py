"""A sidecar that is stopped, slow, killed or restarted: what a request notices of it.

``make bench-away`` prints, for each state of a real
``seism serve``, how long the slowest thousandth of the requests takes, beside the same app
without the observer, in turns; what was dropped, and whether that was counted; and whether
anything came twice. It fails where the slowest thousandth takes ``LIMIT`` longer.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.middleware import ask_wsgi, machine, wsgi_app
from seism.client import Control
from seism.journal import Entry, Missing, read
from seism_middleware.contract import RequestEnded
from seism_middleware.stream import Stream
from seism_middleware.wsgi import SeismWSGI
from tests.processes import free_port, process, until

LIMIT = 0.001
"""Seconds."""
BLOCK = 100
"""Requests of one app before it is the other's turn."""


def busy(environ: dict[str, Any], start_response: Any) -> Any:
    """Long enough that both kinds of requests are as likely to be interrupted."""
    sum(range(10_000))
    return wsgi_app(environ, start_response)


def p999(durations: list[float]) -> float:
    """The 99.9th percentile."""
    return sorted(durations)[int(len(durations) * 0.999)]


@dataclass(frozen=True)
class Row:
    """The slowest thousandth of the requests in one state of the sidecar, in seconds."""

    state: str
    bare: float
    observed: float

    @property
    def added(self) -> float:
        return self.observed - self.bare


@dataclass(frozen=True)
class Found:
    """What became of the requests and of their records."""

    rows: tuple[Row, ...]
    sent: int
    """Records of the worker, of which ``dropped`` were dropped."""
    dropped: int
    counted: int
    """Records that the first sidecar's journal says are missing."""
    unexplained: int
    """Those that neither are in its journal nor are counted there."""
    twice: int
    """Records and observations that are in the journals more than once."""


class Load:
    """Requests of an app with and without the observer, in turns."""

    def __init__(self, sidecar: str, requests: int) -> None:
        self.requests = requests
        self.rows: list[Row] = []
        self.quick = SeismWSGI(wsgi_app, sidecar=sidecar)
        self.observed = SeismWSGI(busy, sidecar=sidecar)  # it has the same observer
        ask_wsgi(self.observed)

    @property
    def stream(self) -> Stream:
        found = self.observed._lazy.get("wsgi")
        assert found is not None
        return found.stream

    def fill(self) -> None:
        """Requests of which only the records matter."""
        for _ in range(2000):
            ask_wsgi(self.quick)

    def run(self, state: str) -> None:
        """Measure; the sidecar is in this state."""
        bare: list[float] = []
        observed: list[float] = []
        for _ in range(self.requests // BLOCK):
            for app, durations in ((busy, bare), (self.observed, observed)):
                for _ in range(BLOCK):
                    start = time.perf_counter()
                    ask_wsgi(app)
                    durations.append(time.perf_counter() - start)
        self.rows.append(Row(state, p999(bare), p999(observed)))


@contextmanager
def serving(port: int, journal: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A sidecar on ``port``, which listens."""
    options = ("--port", str(port), "--journal", str(journal))
    with process(sys.executable, "-m", "seism", "serve", *options, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline().startswith(b"http://")
        try:
            yield child
        finally:
            child.send_signal(signal.SIGCONT)


@contextmanager
def slowed(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """``child`` runs for a sixth of the time only."""
    over = threading.Event()

    def slow() -> None:
        while not over.wait(0.02):
            child.send_signal(signal.SIGSTOP)
            over.wait(0.1)
            child.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(folder: Path, requests: int) -> Found:
    """Go through all states, with the same number of requests of each kind."""
    port = free_port()
    control = Control("127.0.0.1", port)

    def workers() -> dict[str, Any]:
        return dict(control.call("GET", "/seism/workers"))

    def caught_up() -> bool:
        return workers()["dropped"] == load.stream.dropped and not load.stream._unsent

    with serving(port, folder / "first") as child:
        load = Load(f"127.0.0.1:{port}", requests)
        load.run("connecting")
        until(lambda: load.stream.connected)
        load.run("reading")
        until(caught_up)
        child.send_signal(signal.SIGSTOP)
        load.run("stopped")
        while not load.stream.dropped:  # until the kernel, the ring and the backlog are full
            load.fill()
        load.run("stopped, nothing fits any more")
        child.send_signal(signal.SIGCONT)
        until(caught_up)
        with slowed(child):
            load.run("slow")
        until(caught_up)
        # What the sidecar has heard is on its disk before it is killed: that is waited for.
        control.phase("warmup")
        child.kill()
        load.run("killed")
        child.wait()
    with serving(port, folder / "second"):
        load.run("restarted")
        until(lambda: load.stream.connected)
        load.run("reading again")
        until(lambda: not load.stream._unsent)
        found = load.observed._lazy.get("wsgi")
        assert found is not None
        found.close()
        until(lambda: not workers()["workers"])
    return _compared(load, list(read(folder / "first")), list(read(folder / "second")))


def _compared(load: Load, first: list[Entry], second: list[Entry]) -> Found:
    missing = [entry.record.count for entry in first if isinstance(entry.record, Missing)]
    numbers = [(entry.worker, entry.n) for entry in first + second if entry.n is not None]
    mine = [entry.n for entry in first if entry.n is not None]
    ended = [e.record.request for e in first + second if isinstance(e.record, RequestEnded)]
    twice = len(numbers) - len(set(numbers)) + len(ended) - len(set(ended))
    return Found(
        rows=tuple(load.rows),
        sent=load.stream._number,
        dropped=load.stream.dropped,
        counted=sum(missing),
        # What told of them has a number, too, and is not in the journal itself.
        unexplained=max(mine) - len(mine) - sum(missing) - len(missing),
        twice=twice,
    )


def lines(found: Found) -> Iterator[str]:
    """The results, as Markdown."""
    yield "| sidecar | bare, p99.9, µs | with the observer | added |"
    yield "|---|---|---|---|"
    us: Callable[[float], str] = lambda seconds: f"{seconds * 1e6:.0f}"  # noqa: E731
    for row in found.rows:
        yield f"| {row.state} | {us(row.bare)} | {us(row.observed)} | {us(row.added)} |"
    yield ""
    yield (
        f"{found.sent:,} records; {found.dropped:,} dropped, of which the journal of the running "
        f"sidecar counts {found.counted:,}; {found.unexplained:,} unexplained; "
        f"{found.twice:,} twice"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000, help="of each kind, in each state")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seism-") as folder:
        found = measure(Path(folder), options.requests)
    print(f"\n{datetime.now(UTC).isoformat(timespec='seconds')}, {machine()}\n")
    print(*lines(found), sep="\n")
    late = [row.state for row in found.rows if row.added > LIMIT]
    if late:
        print(f"later than {LIMIT * 1000:g} ms: {', '.join(late)}")
    return 1 if late or found.twice or found.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
