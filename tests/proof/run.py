"""Run the long proofs of ``proofs.toml``: ``make proof`` all of them, ``make proof-part`` a part.

All: one after another. The state is in ``build/proof.json``, so an interrupted run goes on where
it stopped. A proof that passed with the present commit is not run again (``--again`` runs it), a
failed one is. After each, ``docs/proof.md`` is written from the state. The exit code is 1 if one
failed.

A part: the pieces that the seed selects, within some minutes. The seed is the commit unless it is
given; the output names it, so that the same pieces run again with ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from tests.apps.application import table
from tests.foreign import suites

ROOT = Path(__file__).parent.parent.parent
REGISTRY = Path(__file__).with_name("proofs.toml")
STATE = ROOT / "build" / "proof.json"
APPS = ROOT / "docs" / "outcomes" / "apps.json"
SUITES = ROOT / "docs" / "outcomes" / "suites.json"
PAGE = ROOT / "docs" / "proof.md"
PATIENCE = 3
"""A proof is killed after its minutes times this."""
PART_MINUTES = 5
CLEAN = "--", ".", ":!docs"
"""Of git: what counts as a change of the commit; proofs write pages themselves."""


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry of the registry, which explains its keys."""

    name: str
    shows: str
    command: str
    minutes: float
    part: str = ""
    part_minutes: float = 0


@dataclass(frozen=True, slots=True)
class Result:
    """One run of a proof."""

    command: str
    commit: str
    seed: int
    when: str
    """UTC, to the minute."""
    minutes: float
    code: int
    machine: str

    @property
    def outcome(self) -> str:
        if self.code == 0:
            return "passed"
        return "timed out" if self.code == -signal.SIGKILL else f"failed (exit code {self.code})"


State = dict[str, Result]


def registry(path: Path = REGISTRY) -> list[Proof]:
    """Every proof; raises ValueError for an entry that is wrong."""
    proofs: list[Proof] = []
    known = {field.name for field in fields(Proof)}
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["proof"]:
        if unknown := set(entry) - known:
            raise ValueError(f"{path.name}: unknown keys {sorted(unknown)}")
        proof = Proof(**entry)
        if proof.name in (other.name for other in proofs):
            raise ValueError(f"{path.name}: duplicate proof {proof.name!r}")
        if bool(proof.part) != (proof.part_minutes > 0):
            raise ValueError(f"{path.name}: {proof.name}: part and part_minutes go together")
        proofs.append(proof)
    return proofs


def commit(folder: Path) -> str:
    """The commit, with ``+changes`` if files differ from it; empty outside of a repository."""

    def git(*words: str) -> str:
        argv = ["git", "-C", str(folder), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()

    head = git("rev-parse", "--short=10", "HEAD")
    return f"{head}+changes" if head and git("status", "--porcelain", *CLEAN) else head


def machine() -> str:
    """The processor, its cores, the kernel and Python."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in info if "model name" in line]
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores of {models[0] if models else platform.machine()}, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def run(command: str, minutes: float, seed: int, folder: Path) -> Result:
    """The result of a shell's command, whose output is shown; killed if it takes too long."""
    at, start = datetime.now(UTC), time.monotonic()
    child = subprocess.Popen(
        command,
        shell=True,
        cwd=folder,
        env={**os.environ, "SEED": str(seed)},
        start_new_session=True,
    )
    try:
        code = child.wait(minutes * 60 * PATIENCE)
    except BaseException as ended:
        os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
        if not isinstance(ended, subprocess.TimeoutExpired):
            raise
    took = (time.monotonic() - start) / 60
    return Result(
        command, commit(folder), seed, f"{at:%Y-%m-%d %H:%M}", round(took, 1), code, machine()
    )


def load(path: Path) -> State:
    """The recorded results; empty if the file is missing."""
    if not path.exists():
        return {}
    results = json.loads(path.read_text(encoding="utf-8"))
    return {name: Result(**result) for name, result in results.items()}


def save(state: State, path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {name: asdict(result) for name, result in state.items()}
    new = path.with_suffix(".new")
    new.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    new.replace(path)


def page(proofs: Sequence[Proof], state: State) -> str:
    """``docs/proof.md``: what has run, when, where and by which command."""
    return "\n".join(_page(proofs, state)) + "\n"


def _page(proofs: Sequence[Proof], state: State) -> Iterator[str]:
    yield "# Proof\n"
    yield "The suite runs before every merge. These proofs take longer. `make proof` runs them and"
    yield "writes this page; `make proof-part`, a step of `.ci/run`, runs a part of them, which the"
    yield "commit selects.\n"
    yield "| proof | what a success shows | outcome | date (UTC) | minutes | commit | command |"
    yield "|---|---|---|---|---|---|---|"
    for proof in proofs:
        result = state.get(proof.name)
        if result is None:
            cells = ["not run yet", "", "", "", f"`{proof.command}`"]
        else:
            command = result.command.replace("$SEED", str(result.seed))
            cells = [
                result.outcome, result.when, f"{result.minutes:g}", result.commit, f"`{command}`",
            ]  # fmt: skip
        yield f"| {proof.name} | {proof.shows} | {' | '.join(cells)} |"
    machines = dict.fromkeys(state[proof.name].machine for proof in proofs if proof.name in state)
    if machines:
        yield f"\nMachine: {'; '.join(machines)}."
    if APPS.exists():
        yield "\n## Real applications\n"
        yield "`make apps` installs them from the package index, runs `seism init`, edits at most"
        yield "five lines of its file, and runs `seism run`. The true defects are in"
        yield "`tests/apps/*.toml`.\n"
        yield table(json.loads(APPS.read_text(encoding="utf-8")))
    if SUITES.exists():
        yield "\n## Test suites of others\n"
        yield "`make suites` downloads their source distributions and runs `pytest --seism` on the"
        yield "tests in them. Requests are saved where an earlier one does the same.\n"
        yield suites.table(json.loads(SUITES.read_text(encoding="utf-8")))


def run_all(
    proofs: Sequence[Proof], folder: Path, state_file: Path, page_file: Path,
    seed: int, again: bool,
) -> int:  # fmt: skip
    """Run each proof that has not passed with the present commit; the exit code."""
    state = {} if again else load(state_file)
    now = commit(folder)
    for proof in proofs:
        last = state.get(proof.name)
        if last and last.code == 0 and last.commit == now and last.command == proof.command:
            print(f"{proof.name}: passed with this commit at {last.when}", flush=True)
            continue
        print(f"{proof.name}: about {proof.minutes:g} minutes", flush=True)
        state[proof.name] = run(proof.command, proof.minutes, seed, folder)
        print(f"{proof.name}: {state[proof.name].outcome}", flush=True)
        save(state, state_file)
        page_file.write_text(page(proofs, state), encoding="utf-8")
    failed = [proof.name for proof in proofs if state[proof.name].code]
    print(f"failed: {', '.join(failed)}" if failed else f"{len(proofs)} proofs passed")
    return int(bool(failed))


def selected(proofs: Sequence[Proof], seed: int, minutes: float) -> list[Proof]:
    """Those whose parts fit into the minutes, in the order that the seed decides."""
    candidates = [proof for proof in proofs if proof.part]
    random.Random(seed).shuffle(candidates)
    chosen, left = [], minutes
    for proof in candidates:
        if proof.part_minutes <= left:
            chosen.append(proof)
            left -= proof.part_minutes
    return chosen


def run_part(proofs: Sequence[Proof], folder: Path, seed: int, minutes: float) -> int:
    """Run what the seed selects; the exit code."""
    chosen = selected(proofs, seed, minutes)
    print(f"{', '.join(proof.name for proof in chosen)}: to repeat, SEED={seed} make proof-part")
    sys.stdout.flush()
    codes = {proof.name: run(proof.part, proof.part_minutes, seed, folder).code for proof in chosen}
    for name in (name for name, code in codes.items() if code):
        print(f"{name}: failed with the seed {seed}")
    return int(any(codes.values()))


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.run", description=__doc__)
    parser.add_argument("what", choices=("all", "part"))
    parser.add_argument("--seed", type=int, help="default: of the commit")
    parser.add_argument("--minutes", type=float, default=PART_MINUTES, help="of a part")
    parser.add_argument("--again", action="store_true", help="run what has succeeded, too")
    options = parser.parse_args(argv)
    proofs = registry()
    # 31 bits: every seeded program takes such a number.
    of_commit = int(commit(ROOT).partition("+")[0] or "0", 16) % 2**31
    seed = of_commit if options.seed is None else options.seed
    if options.what == "part":
        return run_part(proofs, ROOT, seed, options.minutes)
    return run_all(proofs, ROOT, STATE, PAGE, seed, options.again)


if __name__ == "__main__":
    sys.exit(main())
