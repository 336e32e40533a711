"""A sidecar that is stopped, slow, killed or restarted costs no request its time."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seism.client import Control
from seism.journal import Entry, Missing, read
from seism_middleware.contract import RequestEnded
from seism_middleware.wsgi import SeismWSGI
from tests.processes import free_port, process, until
from tests.seism_middleware.test_wsgi import call, sized
from tests.timing import within

BLOCK = 100


@contextmanager
def serving(port: int, journal: Path) -> Iterator[subprocess.Popen[bytes]]:
    options = ("--port", str(port), "--journal", str(journal))
    with process(sys.executable, "-m", "seism", "serve", *options, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline().startswith(b"http://")
        try:
            yield child
        finally:
            child.send_signal(signal.SIGCONT)


def p999(durations: list[float]) -> float:
    return sorted(durations)[int(len(durations) * 0.999)]


def work(environ: dict[str, Any], start_response: Any) -> Any:
    """Long enough that both kinds of requests are as likely to be interrupted."""
    if environ["PATH_INFO"] == "/busy":
        sum(range(10_000))
    return sized(b"x")(environ, start_response)


class Load:
    """Requests of an app with and without the observer, in turns."""

    def __init__(self, sidecar: str) -> None:
        self.bare: Any = work
        self.observed = SeismWSGI(self.bare, sidecar=sidecar)

    def fill(self, requests: int) -> None:
        """Requests of which only the records matter."""
        for _ in range(requests):
            call(self.observed)

    def run(self, name: str, requests: int) -> None:
        """The 99.9th percentile of the observed ones is not later than that of the others."""
        bare: list[float] = []
        observed: list[float] = []
        for _ in range(requests // BLOCK):
            for app, durations in ((self.bare, bare), (self.observed, observed)):
                for _ in range(BLOCK):
                    start = time.perf_counter()
                    call(app, PATH_INFO="/busy")
                    durations.append(time.perf_counter() - start)
        control, with_ = p999(bare), p999(observed)
        print(f"{name}: p99.9 {with_ * 1e6:.0f} µs, control {control * 1e6:.0f} µs")
        assert within(max(0.0, with_ - control), 0.0)


def numbers(entries: list[Entry]) -> list[tuple[str, int]]:
    return [(entry.worker, entry.n) for entry in entries if entry.n is not None]


def test_stopped_slow_killed_and_restarted(tmp_path: Path) -> None:
    port = free_port()
    control = Control("127.0.0.1", port)
    load = Load(f"127.0.0.1:{port}")

    def workers() -> dict[str, Any]:
        return dict(control.call("GET", "/seism/workers"))

    with serving(port, tmp_path / "first") as child:
        load.run("connecting", BLOCK)
        observer = load.observed._observer
        assert observer is not None
        stream = observer.stream
        until(lambda: stream.connected)
        load.run("reading", 2000)
        until(lambda: workers()["observed"] == BLOCK + 2000)
        assert stream.dropped == 0

        child.send_signal(signal.SIGSTOP)
        load.run("stopped", 2000)
        while not stream.dropped:  # until the kernel, the ring and the backlog are full
            load.fill(2000)
        load.run("stopped, full", 2000)
        child.send_signal(signal.SIGCONT)
        until(lambda: workers()["dropped"] == stream.dropped)
        until(lambda: not stream._unsent)

        over = threading.Event()

        def slow() -> None:
            while not over.wait(0.02):
                child.send_signal(signal.SIGSTOP)
                over.wait(0.1)
                child.send_signal(signal.SIGCONT)

        thread = threading.Thread(target=slow)
        thread.start()
        load.run("slow", 3000)
        over.set()
        thread.join()
        until(lambda: workers()["dropped"] == stream.dropped and not stream._unsent)
        # What the sidecar has heard is on its disk before it is killed: that is waited for.
        control.phase("warmup")
        child.kill()
        load.run("killed", 2000)
        child.wait()
    first = list(read(tmp_path / "first"))
    with serving(port, tmp_path / "second"):
        load.run("restarted", 2000)
        until(lambda: stream.connected)
        load.run("reading again", 2000)
        until(lambda: not stream._unsent)
        observer.close()
        until(lambda: not workers()["workers"])
    second = list(read(tmp_path / "second"))
    seen = numbers(first) + numbers(second)
    assert len(seen) == len(set(seen)), "something is in the journals twice"
    ended = [e.record.request for e in first + second if isinstance(e.record, RequestEnded)]
    assert len(ended) == len(set(ended))
    missing = [e.record.count for e in first if isinstance(e.record, Missing)]
    assert missing
    there = [n for _, n in numbers(first)]
    assert there == sorted(there)
    # What told of them has a number, too, and is not in the journal itself.
    assert there[-1] - len(there) == sum(missing) + len(missing)
