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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contestants import DIRECT, Contestant, seism
from bench.figures import median, number, ratio, rotated, table
from bench.run import machine
from seism.demo.backends import DATABASE_USER, Backends, postgres_folder

PLAIN, TRACKED, ARMED = "plain", "tracked", "armed"
CLIENTS = 32

Samples = dict[str, dict[str, list[float]]]
"""Figure, way: one value per round."""


@dataclass(frozen=True)
class Tool:
    """A benchmark that comes with a backend. ``run(host, port, seconds)``: requests/s."""

    name: str
    protocol: str
    fault: str
    never: dict[str, str]
    """What no request of the tool has."""
    run: Callable[[str, str, float], float]


def redis_benchmark(host: str, port: str, seconds: float) -> float:
    count = max(1000, int(40_000 * seconds))
    said = _said(
        "redis-benchmark", "-h", host, "-p", port, "-t", "get", "-c", str(CLIENTS),
        "-n", str(count), "--csv",
    )  # fmt: skip
    return float(re.findall(r'"GET","([0-9.]+)"', said)[-1])


def pgbench(host: str, port: str, seconds: float) -> float:
    options = ("-n", "-S", "-c", "8", "-T", str(max(1, round(seconds))), "-M", "prepared")
    [rate] = re.findall(r"tps = ([0-9.]+)", _pgbench(host, port, *options))
    return float(rate)


def _pgbench(host: str, port: str, *options: str) -> str:
    program = postgres_folder() / "bin" / "pgbench"
    return _said(str(program), "-h", host, "-p", port, "-U", DATABASE_USER, *options, "postgres")


TOOLS = (
    Tool(
        "redis-benchmark GET, 32 clients", "redis", "redis_loading", {"key": "never"},
        redis_benchmark,
    ),
    Tool(
        "pgbench -S -M prepared, 8 clients", "postgresql", "postgresql_deadlock",
        {"table": "never"}, pgbench,
    ),
)  # fmt: skip


def _said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def ways(tool: Tool, backend: str, sidecar: Contestant) -> Iterator[dict[str, str]]:
    """The address of each way to ``backend``."""
    control = sidecar.control
    assert control is not None
    found = {DIRECT: backend}
    for way in (PLAIN, TRACKED, ARMED):
        name = f"{tool.protocol}-{way}"
        wanted = {"name": name, "upstream": backend}
        if way != PLAIN:
            wanted["protocol"] = tool.protocol
        found[way] = control.call("POST", "/proxies", wanted)["listen"]
        if way == ARMED:
            control.add_toxic(name, {"type": tool.fault, "exchange": tool.never})
    yield found


def processor_ns(pid: int) -> int:
    """Time that the main thread of ``pid`` has run (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def measure(
    tool: Tool, addresses: dict[str, str], pid: int, rounds: int, seconds: float
) -> Samples:
    samples: Samples = {"requests/s": {}, "CPU µs per request": {}}
    for turn in range(rounds):
        for way in rotated(list(addresses), turn):
            host, _, port = addresses[way].rpartition(":")
            before = processor_ns(pid)
            rate = tool.run(host, port, seconds)
            spent = processor_ns(pid) - before
            samples["requests/s"].setdefault(way, []).append(rate)
            if way != DIRECT:
                per = spent / 1e3 / (rate * seconds)
                samples["CPU µs per request"].setdefault(way, []).append(per)
    return samples


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.codecs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="of each measurement, about")
    parser.add_argument("--json", type=Path, default=Path("bench-codecs.json"))
    options = parser.parse_args(argv)
    names = (DIRECT, PLAIN, TRACKED, ARMED)
    rows, document = [], {"machine": machine(), "results": {}}
    with Backends() as backends, seism(backends.addresses["cache"]) as sidecar:
        cache, db = (backends.addresses[name] for name in ("cache", "db"))
        _pgbench(*db.split(":"), "-i", "-q")
        for tool, backend in zip(TOOLS, (cache, db), strict=True):
            if tool.run is redis_benchmark and shutil.which("redis-benchmark") is None:
                print("left out: redis-benchmark: apt-get install -y redis-tools")
                continue
            with ways(tool, backend, sidecar) as addresses:
                samples = measure(tool, addresses, sidecar.pid, options.rounds, options.seconds)
            document["results"][tool.name] = samples
            rows += [
                [
                    f"{tool.name}: {figure}",
                    *(number(median(by_way.get(name, ()))) for name in names),
                    *(number(ratio(by_way, name, PLAIN)) for name in (TRACKED, ARMED)),
                ]
                for figure, by_way in samples.items()
            ]
    print(table(["", *names, "tracked/plain", "armed/plain"], rows))
    options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
