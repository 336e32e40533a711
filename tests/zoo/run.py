"""Judge the zoo's pairs: ``python -m tests.zoo.run``, or ``make zoo``.

Each pair of ``pairs/pairs.toml`` is judged once for each seed, on an idle machine and beside two
busy loops. The healthy application must have nothing red or amber; on its sick twin, the run must
find what the file says. Results of the present commit are kept (``build/zoo.json``), and the
table shows all of them. ``--part N`` takes five pairs, by turns, with one seed. The exit code is 1
if a word was false, or a sick twin was not found.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seism.demo.backends import Backends
from tests.processes import ROOT
from tests.zoo.pairs import api

HERE = Path(__file__).parent / "pairs"
STATE = ROOT / "build" / "zoo.json"
SEEDS = (1, 2, 3, 4, 5)
LOADS = {"idle": 0, "busy": 2}
"""Busy loops beside the run."""
TURN = 5
"""Pairs in one part."""
RUN_SECONDS = 150
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
"""Also over if whoever started it was killed."""
SERVERS = {
    "waitress": "waitress --threads={threads} --listen=127.0.0.1:{port}",
    "gunicorn": "gunicorn --workers=3 --preload --bind=127.0.0.1:{port}",
    "gevent": "gunicorn --worker-class=gevent --bind=127.0.0.1:{port}",
    "uvicorn": "uvicorn --port={port} --no-access-log",
}
"""What serves an application: the module and its options."""
BACKENDS = ("db", "cache", "api")
"""What an application can ask: PostgreSQL, Valkey, and ``tests.zoo.pairs.api`` over HTTP."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One entry of ``pairs.toml``."""

    name: str
    file: str
    config: str
    sick: str
    threads: int = 4
    server: str = "waitress"
    protocols: Mapping[str, str] = field(default_factory=dict)
    """Backend -> its protocol, where the proxy is to know it."""
    elsewhere: Sequence[str] = ()
    """``route under perturbation`` where the healthy one's requests do not ask the backend."""

    def text(self, *, sick: bool) -> str:
        """Its ``seism.toml``."""
        server = SERVERS[self.server].replace("{threads}", str(self.threads))
        command = [sys.executable, "-m", *server.split(), f"tests.zoo.pairs.{self.file}:app"]
        used = [name for name in BACKENDS if f'backend = "{name}"' in self.config]
        env = {name.upper(): f"{{{name}.address}}" for name in used} | {"SICK": "1" if sick else ""}
        lines = [
            "[app]",
            f"command = {json.dumps(command)}",
            'url = "http://127.0.0.1:{port}"',
            *(f"env.{name} = {json.dumps(value)}" for name, value in env.items()),
        ]
        for name in used:
            lines += ["[[backend]]", f'name = "{name}"', f'upstream = "${{{name.upper()}}}"']
            if name in self.protocols:
                lines.append(f'protocol = "{self.protocols[name]}"')
        return "\n".join([*lines, self.config])


def pairs() -> list[Pair]:
    """All of them."""
    found = tomllib.loads((HERE / "pairs.toml").read_text(encoding="utf-8"))
    return [Pair(**values) for values in found["pair"]]


def said_of(pair: Pair, *, sick: bool, seed: int, folder: Path, env: dict[str, str]) -> str:
    """Why the verdict on one application is wrong; empty if it is right."""
    (folder / "seism.toml").write_text(pair.text(sick=sick), encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-m", "seism", "run", "--quiet", "--seed", str(seed)]
    try:
        done = subprocess.run(
            [*command, "--report-dir", "out"], cwd=folder, capture_output=True, text=True,
            env={**os.environ, **env, "PYTHONPATH": path, "NO_COLOR": "1"},
            timeout=RUN_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done within {RUN_SECONDS} s"
    report = folder / "out" / "report.json"
    if not report.exists():
        return f"exit code {done.returncode}: {done.stderr[-300:] or done.stdout[-300:]}"
    document = json.loads(report.read_text(encoding="utf-8"))
    return missed(pair.sick, document) if sick else "; ".join(false_words(document, pair.elsewhere))


def false_words(report: dict[str, Any], elsewhere: Sequence[str] = ()) -> Iterator[str]:
    """What a healthy application should not hear."""
    if not report["steady"]["met"]:
        yield f"no steady state: {report['steady']['reason']}"
    for cell in report["cells"]:
        place = f"{cell['route']} under {cell['perturbation']}"
        untouched = cell["colour"] == "not covered" and place in elsewhere
        if cell["colour"] != "green" and not untouched:
            yield f"{place}: {cell['reasons'][0]}"
    yield from (harm["what"] for harm in report["harms"] if harm["colour"] != "green")
    yield from report["findings"]
    yield from (f"{name} never fired" for name in report["never_fired"])


def missed(wanted: str, report: dict[str, Any]) -> str:
    """The finding ``wanted`` of a sick application if it is missing; empty if it was found."""
    first, *rest = wanted.split(" | ")
    if first == "harm":
        kind, name = rest
        harms = [(harm["kind"], harm["perturbation"]) for harm in report["harms"]]
        return "" if (kind, name) in harms else f"not found: {wanted}, but {harms}"
    name, colour, words = rest
    for cell in report["cells"]:
        if (cell["route"], cell["perturbation"]) == (first, name):
            said = "; ".join(cell["reasons"])
            right = cell["colour"] == colour and words in said
            return "" if right else f"{first} under {name} is {cell['colour']}: {said}"
    return f"there is no cell {first} under {name}"


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """That number of processes, which do nothing but run."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def commit() -> str:
    """The state of the sources that verdicts depend on."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def table(rows: dict[str, str], chosen: Sequence[Pair]) -> str:
    """Markdown: how many runs of each were right."""
    lines = ["| pair | healthy, idle | healthy, busy | sick, idle | sick, busy |", "|---" * 5 + "|"]
    for pair in chosen:
        cells = []
        for sick in (False, True):
            for load in ("idle", "busy"):
                kind = "sick" if sick else "healthy"
                prefix = f"{pair.name}/{kind}/{load}/"
                mine = [said for key, said in rows.items() if key.startswith(prefix)]
                cells.append(f"{mine.count('')} of {len(mine)}" if mine else "")
        lines.append(f"| {pair.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, help="five pairs, by turns, with one seed")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--only", default="", help="pairs whose name or file has this in it")
    parser.add_argument("--load", choices=LOADS, help="only on an idle machine, or a busy one")
    parser.add_argument("--again", action="store_true", help="what has been judged, too")
    given = parser.parse_args(arguments)
    chosen = [each for each in pairs() if given.only in each.name or given.only == each.file]
    seeds: Sequence[int] = SEEDS[: given.seeds]
    loads = {given.load: LOADS[given.load]} if given.load else LOADS
    if given.part is not None:
        first = given.part * TURN
        chosen = [chosen[(first + n) % len(chosen)] for n in range(min(TURN, len(chosen)))]
        seeds, loads = (given.part % len(SEEDS) + 1,), {"idle": 0}
    STATE.parent.mkdir(exist_ok=True)
    known = json.loads(STATE.read_text(encoding="utf-8")) if STATE.exists() else {}
    at = commit()
    rows: dict[str, str] = {} if given.again or known.get("commit") != at else known["rows"]
    with ExitStack() as stack:
        running = stack.enter_context(Backends(schema=()))
        env = {name.upper(): address for name, address in running.addresses.items()}
        env["API"] = stack.enter_context(api.running())
        for load, loops in loads.items():
            with busy(loops):
                for pair in chosen:
                    for sick in (False, True):
                        for seed in seeds:
                            key = f"{pair.name}/{'sick' if sick else 'healthy'}/{load}/{seed}"
                            if rows.get(key) == "":
                                continue
                            with tempfile.TemporaryDirectory() as folder:
                                rows[key] = said_of(
                                    pair, sick=sick, seed=seed, folder=Path(folder), env=env
                                )
                            print(f"{key}: {rows[key] or 'right'}", flush=True)
                            STATE.write_text(json.dumps({"commit": at, "rows": rows}, indent=1))
    print(table(rows, chosen))
    return int(any(rows.values()))


if __name__ == "__main__":
    sys.exit(main())
