"""What a protocol costs: real clients through a proxy without one, with one, and with a fault
that matches nothing; ``make bench`` prints it after the proxies.

    plain     bytes are relayed as they come
    tracked   the proxy follows the protocol, so that a fault can be armed at any moment
    armed     each request is read, described, and compared with what a fault is for
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.contestants import DIRECT, seism
from bench.figures import median, number, ratio, rotated, table
from bench.run import machine
from seism.demo.backends import DATABASE_USER, Backends, postgres_folder

PLAIN, TRACKED, ARMED = "plain", "tracked", "armed"
WAYS = (DIRECT, PLAIN, TRACKED, ARMED)
INSTALL = "apt-get install -y --no-install-recommends redis-tools"

Samples = dict[str, dict[str, list[float]]]
"""Figure, way: one value per round."""
Results = dict[str, Samples]
"""By the tool's name."""
Ways = tuple[dict[str, str], int]
"""The address of each way, and the pid of the sidecar that all but the direct one go through."""


@dataclass(frozen=True)
class Tool:
    """A benchmark that comes with a backend."""

    name: str
    protocol: str
    fault: str
    never: dict[str, str]
    """What no request of the tool has."""
    run: Callable[[str, str, float], tuple[float, float]]
    """Given host, port and about how many seconds: requests/s, and how many they were."""


def redis_benchmark(pipeline: int, host: str, port: str, seconds: float) -> tuple[float, float]:
    """GETs of 16 connections; it counts requests, not seconds."""
    count = max(500, int((8_000 if pipeline == 1 else 60_000) * seconds))
    said = _said(
        "redis-benchmark", "-h", host, "-p", port, "-t", "get", "-c", "16", "-n", str(count),
        "-P", str(pipeline), "--csv",
    )  # fmt: skip
    return float(re.findall(r'"GET","([0-9.]+)"', said)[-1]), count


def pgbench(mode: str, host: str, port: str, seconds: float) -> tuple[float, float]:
    """SELECTs by key, of 8 connections."""
    options = ("-n", "-S", "-c", "8", "-T", str(max(1, round(seconds))), "-M", mode)
    said = _pgbench(host, port, *options)
    [rate] = re.findall(r"tps = ([0-9.]+)", said)
    [count] = re.findall(r"transactions actually processed: ([0-9]+)", said)
    return float(rate), float(count)


def _pgbench(host: str, port: str, *options: str) -> str:
    program = postgres_folder() / "bin" / "pgbench"
    return _said(str(program), "-h", host, "-p", port, "-U", DATABASE_USER, *options, "postgres")


REDIS = ("redis", "redis_loading", {"key": "never"})
POSTGRESQL = ("postgresql", "postgresql_deadlock", {"table": "never"})
TOOLS = (
    Tool("redis-benchmark GET", *REDIS, partial(redis_benchmark, 1)),
    Tool("redis-benchmark GET, pipelines of 16", *REDIS, partial(redis_benchmark, 16)),
    Tool("pgbench -S", *POSTGRESQL, partial(pgbench, "simple")),
    Tool("pgbench -S -M prepared", *POSTGRESQL, partial(pgbench, "prepared")),
)


def _said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def ways(protocol: str, fault: str, never: dict[str, str], backend: str) -> Iterator[Ways]:
    """The address of each way to ``backend``, and the sidecar's pid."""
    with seism(backend) as sidecar:
        control = sidecar.control
        assert control is not None
        found = {DIRECT: backend}
        for way in (PLAIN, TRACKED, ARMED):
            wanted = {"name": f"{protocol}-{way}", "upstream": backend}
            if way != PLAIN:
                wanted["protocol"] = protocol
            found[way] = control.call("POST", "/proxies", wanted)["listen"]
        control.add_toxic(f"{protocol}-{ARMED}", {"type": fault, "exchange": never})
        yield found, sidecar.pid


def processor_ns(pid: int) -> int:
    """Time that the main thread of ``pid`` has run (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def measure(tools: Sequence[Tool], found: dict[str, Ways], rounds: int, seconds: float) -> Results:
    """Every tool once per round and way."""
    results: Results = {}
    for turn in range(rounds):
        for tool in tools:
            addresses, pid = found[tool.protocol]
            samples = results.setdefault(tool.name, {"requests/s": {}, "CPU µs per request": {}})
            for way in rotated(list(addresses), turn):
                host, _, port = addresses[way].rpartition(":")
                before = processor_ns(pid)
                rate, count = tool.run(host, port, seconds)
                spent = processor_ns(pid) - before
                samples["requests/s"].setdefault(way, []).append(rate)
                if way != DIRECT:
                    samples["CPU µs per request"].setdefault(way, []).append(spent / 1e3 / count)
    return results


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.codecs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1, help="of each measurement, about")
    parser.add_argument("--json", type=Path, default=Path("bench-codecs.json"))
    options = parser.parse_args(argv)
    tools = TOOLS
    if shutil.which("redis-benchmark") is None:
        print(f"left out: redis-benchmark: {INSTALL}", file=sys.stderr)
        tools = tuple(tool for tool in TOOLS if tool.protocol != "redis")
    with contextlib.ExitStack() as stack:
        backends = stack.enter_context(Backends()).addresses
        _pgbench(*backends["db"].split(":"), "-i", "-q")
        found = {
            protocol: stack.enter_context(ways(protocol, fault, never, backends[name]))
            for name, (protocol, fault, never) in (("cache", REDIS), ("db", POSTGRESQL))
        }
        about = machine()
        results = measure(tools, found, options.rounds, options.seconds)
    rows = [
        [
            f"{tool}: {figure}",
            *(number(median(by_way.get(way, ()))) for way in WAYS),
            *(number(ratio(by_way, way, PLAIN)) for way in (TRACKED, ARMED)),
        ]
        for tool, samples in results.items()
        for figure, by_way in samples.items()
    ]
    print(f"What a protocol costs. {options.rounds} rounds, load {about['load']}.\n")
    print(table(["", *WAYS, "tracked/plain", "armed/plain"], rows))
    document = {"machine": about, "results": results}
    options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
