"""``make attack``: each attack against a sidecar of its own, with bystanders; one line each.

The figures are of an idle machine. Exit code 1 if a bystander waited longer than
``WAIT_MS``, the sidecar's memory grew beyond ``PEAK_MIB``, a bystander failed, or SIGTERM took
more than ``STOP_SECONDS``.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from seism.client import Control
from tests.attack import api, armed, pattern, stream
from tests.attack.bystander import Bystanders
from tests.processes import process

WAIT_MS, PEAK_MIB, STOP_SECONDS = 250, 128, 2.0

Attack = Callable[[Control, float], None]
ATTACKS: dict[str, Attack] = {
    "patterns": pattern.attack,
    "stream of unknown records": stream.unknown,
    "requests that never end": stream.endless,
    "requests that never end, long": stream.endless_long,
    "half lines": stream.half_lines,
    "as many proxies as there may be": api.populate,
    "files without an end": api.files,
    "unknown keys": api.keys,
    "held behind a late request": armed.request,
    "held behind a late reply": armed.reply,
    "each exchange held": armed.each,
    "each held, and the fault removed": armed.removed,
    "each held, and the client leaves": armed.left,
}


def attacked(attack: Attack, seconds: float, folder: Path) -> tuple[Bystanders, float]:
    """The bystanders afterwards, and the seconds that SIGTERM took."""
    command = (sys.executable, "-m", "seism", "serve", "--port", "0")
    with (
        (folder / "log").open("wb") as log,
        process(
            *command, "--journal", str(folder / "journal.jsonl"), stdout=subprocess.PIPE, stderr=log
        ) as child,
    ):
        assert child.stdout is not None
        host, _, port = child.stdout.readline().decode().strip()[7:].rpartition(":")
        with Bystanders(Control(host, int(port), timeout=30), child.pid) as bystanders:
            attack(Control(host, int(port), timeout=120), seconds)
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            bystanders.failures.append("SIGTERM does not end it")
        return bystanders, time.monotonic() - began


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", default="", help="attacks whose name has this in it")
    arguments.add_argument("--seconds", type=float, default=10, help="of those that go on and on")
    asked = arguments.parse_args()
    failed = 0
    print(f"{'attack':34} {'longest wait':>12} {'peak':>9} {'SIGTERM':>8}")
    for name, attack in ATTACKS.items():
        if asked.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            seen, stop = attacked(attack, asked.seconds, Path(folder))
        good = (
            seen.longest * 1000 <= WAIT_MS
            and seen.peak <= PEAK_MIB
            and stop <= STOP_SECONDS
            and not seen.failures
        )
        failed += not good
        print(
            f"{name:34} {seen.longest * 1000:9.0f} ms {seen.peak:5.0f} MiB {stop:6.2f} s "
            f"{'' if good else 'FAILED'} {'; '.join(seen.failures[:2])}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
