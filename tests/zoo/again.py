"""Judge the applications on which verdicts were wrong once, again and again.

``python -m tests.zoo.again``, or ``make zoo-again``: each under ``run``, ``sweep`` and ``report``,
``--times`` times on an idle machine and as often beside two busy loops. ``--only WORD`` picks
applications by a part of their name. A line tells of each, and the exit code is 1 if any
verdict was wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from seism.demo.backends import Backends
from tests.zoo.judged import KNOWN, wrong
from tests.zoo.run import LOADS, busy

NAMES = (
    "connection_per_request",
    "django_middleware_cache",
    "django_middleware_db",
    "finalizer",
    "flask_converter",
    "front_exits",
    "no_response",
    "no_timeout",
    "pubsub",
    "pyramid_factory",
    "redirected",
)
CASES = [(name, command) for name, command in KNOWN if name in NAMES]
TIMES = 10


def judge(
    cases: Sequence[tuple[str, str]],
    times: int,
    loads: Mapping[str, int],
    backends: Mapping[str, str],
) -> int:
    """Judge each of them, print a row of a table for each; how many verdicts were wrong."""
    false = 0
    for load, loops in loads.items():
        with busy(loops):
            for name, command in cases:
                found = []
                for _ in range(times):
                    with tempfile.TemporaryDirectory(prefix="seism-") as folder:
                        found.append(wrong(name, command, Path(folder), backends))
                right = sum(not lines for lines in found)
                false += times - right
                said = "; ".join(dict.fromkeys(line for lines in found for line in lines))
                row = f"| `{name}` | {command} | {load} | {right} of {times} | {said} |"
                print(row, flush=True)
    return false


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="applications whose name has this in it")
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--idle", action="store_true", help="not beside busy loops")
    given = parser.parse_args(arguments)
    cases = [case for case in CASES if given.only in case[0]]
    print("| application | command | machine | right | what was wrong |\n|---|---|---|---|---|")
    with Backends(schema=()) as running:
        backends = {name.upper(): at for name, at in running.addresses.items()}
        false = judge(cases, given.times, {"idle": 0} if given.idle else LOADS, backends)
    return 1 if false else 0


if __name__ == "__main__":
    sys.exit(main())
