"""``make attack``: each attack against a sidecar of its own, with bystanders; one line each.

The figures are of an idle machine. Exit code 1 if a bystander waited longer than
``WAIT_MS``, the sidecar's memory grew beyond ``PEAK_MIB``, a bystander or an attack failed,
SIGTERM took more than ``STOP_SECONDS``, or a codec's time grows faster than with the size of its
input to the power of ``codec.EXPONENT``.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.attack import api, armed, codec, flood, pattern, stream
from tests.attack.bystander import Bystanders, Seen
from tests.attack.target import Disk, Target, target
from tests.protocols.hostile import HOSTILE

WAIT_MS, PEAK_MIB, STOP_SECONDS = 250, 128, 2.0


@dataclass(frozen=True)
class Attack:
    """One way to attack, and the sidecar that it needs."""

    act: Callable[[Target, float], None]
    front: bool = False
    """There is an app, and the sidecar is in front of it."""
    disk: Disk | None = None
    """The fault of the journal's; None: a good one."""


ATTACKS: dict[str, Attack] = {
    "patterns": Attack(pattern.attack),
    "stream of unknown records": Attack(stream.unknown),
    "requests that never end": Attack(stream.endless),
    "requests that never end, long": Attack(stream.endless_long),
    "half lines": Attack(stream.half_lines),
    "as many proxies as there may be": Attack(api.populate),
    "files without an end": Attack(api.files),
    "unknown keys": Attack(api.keys),
    "malformed bodies": Attack(api.bodies),
    "held behind a late request": Attack(armed.request),
    "held behind a late reply": Attack(armed.reply),
    "each exchange held": Attack(armed.each),
    "each held, and the fault removed": Attack(armed.removed),
    "each held, and the client leaves": Attack(armed.left),
    "a storm of connections": Attack(flood.storm),
    "handshakes that hang": Attack(flood.handshakes),
    "hostile requests to a front": Attack(flood.front, front=True),
    "a full disk": Attack(flood.disk, disk=Disk.FULL),
    "a disk that stalls": Attack(flood.disk, disk=Disk.STALLED),
}


def attacked(attack: Attack, seconds: float, folder: Path) -> tuple[Seen, float]:
    """What the bystanders have seen, and the seconds that SIGTERM took."""
    app = flood.app() if attack.front else ""
    with target(folder, app, attack.disk) as (found, child):
        with Bystanders((found.host, found.port), child.pid) as seen:
            try:
                attack.act(found, seconds)
            except (AssertionError, OSError) as error:
                seen.failures.append(f"{type(error).__name__}: {error}")
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            seen.failures.append("SIGTERM does not end it")
        expected = 4 if attack.disk else 0
        if child.poll() not in (expected, None):
            seen.failures.append(f"exit code {child.returncode}, not {expected}")
        return seen, time.monotonic() - began


def _line(name: str, attack: Attack, seconds: float) -> bool:
    """Print it; whether the attack did no harm."""
    with tempfile.TemporaryDirectory() as folder:
        seen, stop = attacked(attack, seconds, Path(folder))
    good = (
        seen.longest * 1000 <= WAIT_MS
        and seen.peak <= PEAK_MIB
        and stop <= STOP_SECONDS
        and not seen.failures
    )
    print(
        f"{name:34} {seen.longest * 1000:9.0f} ms {seen.peak:5.0f} MiB {stop:6.2f} s "
        f"{'' if good else 'FAILED'} {'; '.join(seen.failures[:2])}",
        flush=True,
    )
    return good


def _codecs(only: str) -> int:
    """Print the codecs' growth; how many are too much."""
    failed = 0
    for protocol in HOSTILE:
        if only in protocol:
            found = codec.growths(protocol)
            worst = max(found, key=lambda each: each.exponent)
            bad = [each.name for each in found if each.exponent > codec.EXPONENT]
            failed += len(bad)
            print(
                f"{f'codec of {protocol}':34} exponent {worst.exponent:.2f} at most, of "
                f"{len(found)} inputs: {worst.name} {'FAILED ' * bool(bad)}{'; '.join(bad)}",
                flush=True,
            )
    return failed


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", default="", help="attacks whose name has this in it")
    arguments.add_argument("--seconds", type=float, default=10, help="of those that go on and on")
    arguments.add_argument("--codecs", nargs="?", const="", help="codecs only, of this protocol")
    asked = arguments.parse_args()
    failed = 0
    if asked.codecs is None:
        print(f"{'attack':34} {'longest wait':>12} {'peak':>9} {'SIGTERM':>8}")
        for name, attack in ATTACKS.items():
            if asked.only in name:
                failed += not _line(name, attack, asked.seconds)
    if not asked.only:
        failed += _codecs(asked.codecs or "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
