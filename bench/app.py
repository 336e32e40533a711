"""What the observer costs in an app: real servers and clients; ``make bench-app``.

    bare      the app alone, direct
    wrapped   with the middleware, no sidecar, direct
    direct    with the middleware and a sidecar, direct: no connection leads to a proxy
    proxied   the app alone, through proxies
    all       with the middleware and a sidecar, through proxies

The five take turns in each round. A difference or a ratio is taken within a round; the median is
shown with its 95 % interval. CPU is that of all processes of the app.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.figures import interval, median, number, rotated, table
from bench.run import machine
from seism.demo.backends import Backends
from seism_middleware.contract import SIDECAR_VARIABLE
from tests.processes import free_port, process, sidecar, until, wait_for

BARE, WRAPPED, DIRECT, PROXIED, ALL = WAYS = ("bare", "wrapped", "direct", "proxied", "all")
COUNTS = (0, 1, 10, 40)
"""Exchanges per request."""
CONNECTIONS = 4
PYTHON = ("redis-py",)
"""Clients that are pure Python."""
BLOCKING = ("redis-py", "psycopg2", "psycopg", "SQLAlchemy", "Django ORM")
ASYNCIO = ("redis-py", "psycopg", "asyncpg")
SERVERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "waitress": (
        ("waitress", "--threads=8", "--listen=127.0.0.1:{}", "bench.asking:wsgi"),
        BLOCKING,
    ),
    "gunicorn": (("gunicorn", "--bind=127.0.0.1:{}", "bench.asking:wsgi"), BLOCKING),
    "gevent": (("gunicorn", "-k", "gevent", "--bind=127.0.0.1:{}", "bench.asking:wsgi"), BLOCKING),
    "uvicorn": (
        ("uvicorn", "--port={}", "--loop=asyncio", "--no-access-log", "bench.asking:asgi"),
        ASYNCIO,
    ),
}
"""Name -> how it is started, and the clients that it runs with."""

Samples = dict[str, dict[str, list[float]]]
"""Figure -> way -> its value in each round."""


@dataclass(frozen=True)
class Case:
    """One row of the tables."""

    server: str
    client: str
    count: int
    pinned: bool

    def __str__(self) -> str:
        asked = f"{self.count} x {self.client}" if self.count else "nothing"
        return f"{self.server}, {asked}" + (", pinned" if self.pinned else "")

    def goal(self, way: str) -> float:
        """The most µs of CPU per request that the middleware may add."""
        each = 0.5 if way == DIRECT else 3.0 if self.client in PYTHON else 5.0
        return 25 + self.count * each


@dataclass(frozen=True)
class Served:
    """One of the five apps, running."""

    port: int
    pids: tuple[int, ...]


def cpu(pids: Sequence[int]) -> float:
    """Seconds of CPU that the processes have used (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


class Client:
    """One connection to the app, made again where the server closes it."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._request = f"GET /{count} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        self._sock: socket.socket | None = None

    def ask(self) -> None:
        """One request, and its whole response."""
        if self._sock is None:
            self._sock = socket.create_connection(("127.0.0.1", self._port), timeout=30)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.sendall(self._request)
        data = b""
        while not data.endswith(b"\r\n\r\nok"):
            got = self._sock.recv(4096)
            if not got:
                raise RuntimeError(f"unexpected response: {data!r}")
            data += got
        if not data.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"unexpected response: {data!r}")
        if b"onnection: close" in data:
            self.close()

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def load(port: int, count: int, seconds: float) -> list[float]:
    """Seconds that each request took, of all connections together."""
    took: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    failed: list[Exception] = []
    end = time.monotonic() + seconds

    def ask(into: list[float]) -> None:
        client = Client(port, count)
        try:
            while (start := time.monotonic()) < end or not into:
                client.ask()
                into.append(time.monotonic() - start)
        except Exception as error:
            failed.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=ask, args=(each,)) for each in took]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sorted(each for some in took for each in some)


def measure(app: Served, pid: int, count: int, seconds: float) -> Iterator[tuple[str, float]]:
    """The figures of one app: all that the tables are made of."""
    before, beside, start = cpu(app.pids), cpu([pid]), time.monotonic()
    took = load(app.port, count, seconds)
    elapsed, requests = time.monotonic() - start, len(took)
    yield "CPU", (cpu(app.pids) - before) / requests * 1e6
    yield "sidecar", (cpu([pid]) - beside) / requests * 1e6
    yield "requests/s", requests / elapsed
    yield "p50", took[requests // 2] * 1e3
    yield "p99", took[min(requests - 1, int(requests * 0.99))] * 1e3


@contextmanager
def apps(case: Case, direct: Mapping[str, str], proxies: Mapping[str, str], sidecar: str) -> Any:
    """The five, running and warm; ``case.count`` does not matter."""
    command, _ = SERVERS[case.server]
    with ExitStack() as stack:
        found = {}
        for way in WAYS:
            port = free_port()
            argv = (sys.executable, "-m", *(part.format(port) for part in command))
            there = proxies if way in (PROXIED, ALL) else direct
            environ = {
                "BENCH_CLIENT": case.client,
                "BENCH_CACHE": there["cache"],
                "BENCH_DB": there["db"],
                "BENCH_WRAPPED": "" if way in (BARE, PROXIED) else "1",
            }
            if way in (DIRECT, ALL):
                environ[SIDECAR_VARIABLE] = sidecar
            pinned = (shutil.which("taskset") or "taskset", "-c", "0") if case.pinned else ()
            log = stack.enter_context(tempfile.TemporaryFile())
            child = stack.enter_context(
                process(*pinned, *argv, env=environ, stdout=log, stderr=log)
            )
            wait_for(port, child)
            for count in COUNTS:
                load(port, count, 0.1)
            below = psutil.Process(child.pid).children(recursive=True)
            found[way] = Served(port, (child.pid, *(each.pid for each in below)))
        yield found


def run(
    cases: Sequence[Case], rounds: int, seconds: float, done: Callable[[Case, Samples], None]
) -> None:
    """Measure all cases, those of the same apps one after the other."""
    groups: dict[tuple[bool, str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.pinned, case.server, case.client), []).append(case)
    everywhere = os.sched_getaffinity(0)
    for (pinned, _, _), group in groups.items():
        os.sched_setaffinity(0, everywhere - {0} if pinned else everywhere)
        with (
            Backends() as backends,
            tempfile.TemporaryDirectory() as folder,
            sidecar(Path(folder) / "journal") as control,
        ):
            direct = backends.addresses
            proxies = {
                name: control.call("POST", "/proxies", {"name": name, "upstream": there})["listen"]
                for name, there in direct.items()
            }
            where = f"{control.host}:{control.port}"
            with apps(group[0], direct, proxies, where) as running:
                until(lambda: len(control.call("GET", "/seism/workers")["workers"]) == 2)
                (pid,) = {
                    each.pid
                    for each in psutil.Process().children()
                    if folder in " ".join(each.cmdline())
                }
                for case in group:
                    samples: Samples = {}
                    for turn in range(rounds):
                        for way in rotated(WAYS, turn):
                            for name, value in measure(running[way], pid, case.count, seconds):
                                samples.setdefault(name, {}).setdefault(way, []).append(value)
                    done(case, samples)
    os.sched_setaffinity(0, everywhere)


def _between(values: Sequence[float]) -> str:
    low, high = interval(values)
    return f"{number(median(values))} ({number(low)} to {number(high)})"


def processor_row(case: Case, samples: Samples) -> list[str]:
    """CPU per request, and what the middleware adds to it."""
    used = samples["CPU"]

    def added(way: str, to: str) -> str:
        return _between([a - b for a, b in zip(used[way], used[to], strict=True)])

    return [
        str(case),
        number(median(used[BARE])),
        added(WRAPPED, BARE),
        added(DIRECT, BARE),
        number(case.goal(DIRECT)),
        number(median(used[PROXIED])),
        added(ALL, PROXIED),
        number(case.goal(ALL)),
        *(number(median(samples["sidecar"][way])) for way in (DIRECT, PROXIED, ALL)),
    ]


PROCESSOR = [
    "CPU µs per request", "bare", "wrapped - bare", "direct - bare", "goal",
    "proxied", "all - proxied", "goal", "sidecar: direct", "proxied", "all",
]  # fmt: skip


def rate_row(case: Case, samples: Samples) -> list[str]:
    """Requests per second, and how long they take."""
    rates = samples["requests/s"]

    def share(way: str, to: str) -> str:
        return _between([a / b for a, b in zip(rates[way], rates[to], strict=True)])

    return [
        str(case),
        number(median(rates[BARE])),
        share(WRAPPED, BARE),
        share(DIRECT, BARE),
        share(ALL, PROXIED),
        "0.93" if case.pinned else "0.90",
        *(number(median(samples[name][way])) for name in ("p50", "p99") for way in (PROXIED, ALL)),
    ]


RATE = [
    "requests/s", "bare", "wrapped/bare", "direct/bare", "all/proxied", "goal",
    "p50 ms: proxied", "all", "p99 ms: proxied", "all",
]  # fmt: skip


def chosen(only: Sequence[str]) -> list[Case]:
    """All cases, or those whose every word is in ``only`` where a word of its kind is."""
    found = []
    for pinned in (True, False):
        for server, (_, clients) in SERVERS.items():
            for client in clients:
                for count in COUNTS:
                    if count or client == clients[0]:
                        found.append(Case(server, client, count, pinned))
    kinds: tuple[Callable[[Case], str], ...] = (
        lambda case: case.server,
        lambda case: case.client if case.count else "nothing",
        lambda case: str(case.count),
        lambda case: "pinned" if case.pinned else "unpinned",
    )
    known = [{kind(case) for case in found} for kind in kinds]
    unknown = set(only) - set().union(*known)
    if unknown:
        raise SystemExit(f"--only: unknown: {', '.join(sorted(unknown))}")
    for kind, names in zip(kinds, known, strict=True):
        if wanted := names & set(only):
            found = [case for case in found if kind(case) in wanted]
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.app", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement")
    parser.add_argument(
        "--only", default="", help="comma-separated: servers, clients, counts, pinned, unpinned"
    )
    parser.add_argument("--json", type=Path, default=Path("bench-app.json"))
    options = parser.parse_args(argv)
    cases = chosen([word for word in options.only.split(",") if word])
    about = machine()
    found: dict[Case, Samples] = {}

    def done(case: Case, samples: Samples) -> None:
        found[case] = samples
        print(f"{len(found)} of {len(cases)}: {case}", file=sys.stderr)

    run(cases, options.rounds, options.seconds, done)
    print(f"What the observer costs in an app. {options.rounds} rounds, load {about['load']}.\n")
    print(table(PROCESSOR, [processor_row(*each) for each in found.items()]), end="\n\n")
    print(table(RATE, [rate_row(*each) for each in found.items()]))
    results = {str(case): samples for case, samples in found.items()}
    document = {"machine": about, "results": results}
    options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
