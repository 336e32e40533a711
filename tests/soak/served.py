"""``seism serve`` with a window: on SIGUSR1 it writes what its process holds.

    python -m tests.soak.served WINDOW serve --port 0 ...

WINDOW is a file. It gets a JSON object: the event loop's active watchers, and how many
objects there are of each kind that a connection is made of.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import gevent

KINDS = ("Connection", "Link", "Slot", "Timer", "Dial", "Perturbation")


def look() -> dict[str, int]:
    """What there is now."""
    gc.collect()
    counted = Counter(type(each).__name__ for each in gc.get_objects())
    return {"watchers": gevent.get_hub().loop.activecnt} | {kind: counted[kind] for kind in KINDS}


def main() -> None:
    window = Path(sys.argv.pop(1))

    def write() -> None:
        made = window.with_suffix(".new")
        made.write_text(json.dumps(look()), encoding="utf-8")
        os.replace(made, window)

    gevent.signal_handler(signal.SIGUSR1, write)
    from seism.cli import main as seism

    seism()


if __name__ == "__main__":
    main()
