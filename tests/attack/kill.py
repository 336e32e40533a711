"""``make kills``: SIGKILL of each process of a run, at random moments, again and again.

After each kill the run must end by itself, nothing may still run, no temporary file may be left,
the journal must be readable, and neither output nor exit code may be those of a crash. A kill after
the run's end does not count. The state is in ``build/kills.json``: an interrupted proof goes on
where it stopped; another commit starts a new one.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from seism.errors import SeismError
from seism.journal import read
from seism.verdict.judgement import judge
from tests.processes import ROOT, until
from tests.servers import Valkey
from tests.test_cli import Seism

ROLES: dict[str, tuple[str, ...]] = {
    "runner": (),
    "sidecar": ("serve",),
    "app": ("tests.experiment.small_app:app",),
    "load": ("seism.experiment.load",),
}
"""With words of its command line; the runner is the process that the test starts."""
LATEST = 2.5
"""Seconds after a process is there until which it may be killed: about as long as a run takes."""
STATE = ROOT / "build" / "kills.json"


@dataclass(frozen=True)
class Kill:
    """One kill and what came of it."""

    role: str
    code: int | None
    """The runner's exit code; None: it had ended before, so nothing was killed."""
    wrong: tuple[str, ...] = ()


def kill(role: str, moment: float, folder: Path, cache: str) -> Kill:
    """Run an experiment in ``folder`` and kill ``role`` at ``moment`` seconds of its life."""
    temporary = folder / "tmp"
    temporary.mkdir()
    seism = Seism(folder, cache)
    seism.env["TMPDIR"] = str(temporary)
    seism.experiment("/", "/weak")
    run = seism.start("run", "--quiet")
    victim = seism.find(*ROLES[role]) if ROLES[role] else psutil.Process(run.pid)
    threading.Event().wait(moment)
    gone = run.poll() is not None
    with suppress(psutil.NoSuchProcess):
        victim.kill()
    try:
        out, err = run.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        run.kill()
        run.communicate()
        return Kill(role, run.returncode, ("the run does not end",))
    wrong = list(_left(seism, temporary))
    if "Traceback" in out + err:
        wrong.append(f"traceback: {(out + err)[-300:]}")
    if role != "runner" and run.returncode not in (0, 1, 3, 4):
        wrong.append(f"exit code {run.returncode}: {err[-300:]}")
    if role == "runner" and not gone and run.returncode not in (-signal.SIGKILL, 0, 1):
        wrong.append(f"exit code {run.returncode}")
    if role != "runner" and run.returncode != 0 and not (out + err).strip():
        wrong.append("it does not say why")
    journal = folder / "seism-report" / "journal.jsonl"
    if journal.exists() and journal.stat().st_size:
        try:
            judge(read(journal))
        except SeismError as error:
            wrong.append(f"journal: {error}")
    return Kill(role, None if gone else run.returncode, tuple(wrong))


def _left(seism: Seism, temporary: Path) -> list[str]:
    """The processes and temporary files that outlive the run."""
    with suppress(AssertionError):
        until(lambda: not seism.left() and not any(temporary.iterdir()))
    found = [f"still runs: {' '.join(process.cmdline())[:200]}" for process in seism.left()]
    for process in seism.left():
        process.kill()
    return found + [f"left: {path.name}" for path in temporary.iterdir()]


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--times", type=int, default=100, help="kills of each process")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--minutes", type=float, default=60, help="after which it stops")
    asked = arguments.parse_args()
    end = time.monotonic() + asked.minutes * 60
    state = {"commit": _commit(), "seed": asked.seed, "done": dict.fromkeys(ROLES, 0), "wrong": []}
    with suppress(OSError, ValueError):
        before = json.loads(STATE.read_text())
        if all(before[key] == state[key] for key in ("commit", "seed")):
            state = before
    done, wrong = state["done"], state["wrong"]
    chance = random.Random(f"{asked.seed} {sum(done.values())}")
    STATE.parent.mkdir(exist_ok=True)
    with Valkey() as cache:
        while min(done.values()) < asked.times and time.monotonic() < end:
            role = min(ROLES, key=done.__getitem__)
            with tempfile.TemporaryDirectory() as folder:
                found = kill(
                    role, chance.uniform(0, LATEST), Path(folder), f"127.0.0.1:{cache.port}"
                )
            done[role] += found.code is not None
            wrong += [f"{role}: {each}" for each in found.wrong]
            for each in found.wrong:
                print(f"{role}: {each}", flush=True)
            STATE.write_text(json.dumps(state, indent=2) + "\n")
    print(", ".join(f"{role} killed {count} times" for role, count in done.items()), end="; ")
    print(f"{len(wrong)} wrong; {STATE.relative_to(ROOT)}")
    return 1 if wrong or min(done.values()) < asked.times else 0


if __name__ == "__main__":
    sys.exit(main())
