"""Compare the proxies in alternation, print a table, write JSON: ``make bench``.

The contestants take turns within each round, and each round begins with another one, so
that the machine's noise meets all of them. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.cases import CASES, Case
from bench.contestants import (
    DIRECT,
    HAPROXY,
    INSTALL_HAPROXY,
    PURE,
    SEISM,
    Contestant,
    build_load,
    haproxy,
    naive,
    other,
    seism,
    server,
)
from bench.figures import median, number, ratio, rotated, table

Results = dict[str, dict[str, dict[str, list[float]]]]
"""Case, figure, contestant: one value per round."""


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--only", default="", help=f"of {','.join(case.name for case in CASES)}")
    parser.add_argument("--skip", default="", help="contestants to leave out, by comma")
    parser.add_argument("--json", type=Path, default=Path("bench.json"))
    parser.add_argument(
        "--server-port", type=int, default=0, help="where the server behind the proxies listens"
    )
    parser.add_argument(
        "--other", action="append", default=[], metavar="NAME=HOST:PORT[=PID]",
        help="a proxy that runs already, in front of --server-port",
    )  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(argv)
    build_load()
    wanted = options.only.split(",") if options.only else [case.name for case in CASES]
    cases = [case for case in CASES if case.name in wanted]
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(server(options.server_port))
        contestants = {DIRECT: Contestant(DIRECT, upstream)}
        for start in (seism, partial(seism, pure=True), haproxy, naive):
            try:
                entered = stack.enter_context(start(upstream))
                contestants[entered.name] = entered
            except FileNotFoundError as error:
                _say(f"left out: {error}")
        for text in options.other:
            added = other(text)
            contestants[added.name] = added
        for name in options.skip.split(",") if options.skip else ():
            contestants.pop(name, None)
        about = machine()
        results = measure(cases, contestants, options.rounds, options.seconds)
    print(report(about, cases, list(contestants), results, options))
    document = {
        "machine": about, "rounds": options.rounds, "seconds": options.seconds,
        "results": _without_nan(results),
    }  # fmt: skip
    options.json.write_text(
        json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )


def measure(
    cases: Sequence[Case], contestants: dict[str, Contestant], rounds: int, seconds: float
) -> Results:
    """Every case once per round and contestant."""
    results: Results = {}
    for turn in range(rounds):
        for case in cases:
            _say(f"round {turn + 1} of {rounds}: {case.name}")
            for name in rotated([n for n in contestants if not case.only or n in case.only], turn):
                for figure, value in case.measure(contestants[name], seconds).items():
                    by_name = results.setdefault(case.name, {}).setdefault(figure, {})
                    by_name.setdefault(name, []).append(value)
    return results


def report(
    about: dict[str, Any],
    cases: Sequence[Case],
    names: Sequence[str],
    results: Results,
    options: argparse.Namespace,
) -> str:
    """The machine in a line, and the table."""
    ours = [name for name in names if name in (SEISM, PURE)]
    rows = [
        [
            f"{case.title}: {figure}",
            *(number(median(samples.get(name, ()))) for name in names),
            *(number(ratio(samples, name, HAPROXY)) for name in ours),
        ]
        for case in cases
        for figure, samples in results.get(case.name, {}).items()
    ]
    where = (
        f"{about['date']}, {about['processor']}, {about['cores']} cores, load {about['load']}, "
        f"Linux {about['kernel']}, Python {about['python']}, gevent {about['gevent']}, "
        f"HAProxy {about['haproxy']}."
    )
    how = (
        f"Medians of {options.rounds} alternated rounds of {options.seconds:g} s; "
        "a ratio is the median of each round's."
    )
    return "\n".join(
        [where, how, "", table(["", *names, *(f"{name}/HAProxy" for name in ours)], rows)]
    )


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    info = Path("/proc/cpuinfo").read_text()
    models = [line.split(":")[1].strip() for line in info.splitlines() if "model name" in line]
    return {
        "date": datetime.date.today().isoformat(),
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "gevent": importlib.metadata.version("gevent"),
        "haproxy": _haproxy_version(),
    }


def _haproxy_version() -> str:
    try:
        path = f"{os.environ.get('PATH', '')}:/usr/sbin"
        said = subprocess.run(
            ["haproxy", "-v"], capture_output=True, text=True, env={"PATH": path}, check=True
        ).stdout
    except OSError:
        return f"not installed ({INSTALL_HAPROXY})"
    return said.split()[2].split("-")[0]


def _without_nan(found: Any) -> Any:
    """JSON knows no NaN: what a round could not measure is null there."""
    if isinstance(found, dict):
        return {key: _without_nan(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_without_nan(value) for value in found]
    return None if found != found else found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
