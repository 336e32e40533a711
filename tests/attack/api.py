"""Single calls of the control API that are as much work as a call can be."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from seism.client import Control
from seism.errors import SeismError
from seism.proxy.collection import MAX_PROXIES


def populate(control: Control, seconds: float) -> None:
    """As many proxies as there may be, then more, listed and counted."""
    for count in (MAX_PROXIES - 1, 15_000):
        proxies = [{"name": f"m{number}", "upstream": "127.0.0.1:1"} for number in range(count)]
        with contextlib.suppress(SeismError):
            control.call("POST", "/populate", proxies)
    for path in ("/proxies", "/seism/connections"):
        control.call("GET", path)
    control.call("POST", "/reset")


def files(control: Control, seconds: float) -> None:
    """Files whose reading never ends."""
    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder) / "pipe"
        os.mkfifo(pipe)
        for path in (str(pipe), "/dev/zero", "/dev/urandom"):
            for tls in ({"tls": {"certificate": path}}, {"upstream_tls": {"ca": path}}):
                with contextlib.suppress(SeismError):
                    control.call(
                        "POST", "/proxies", {"name": "a", "upstream": "127.0.0.1:1", **tls}
                    )


def keys(control: Control, seconds: float) -> None:
    """Bodies of nothing but keys that nobody knows."""
    for _ in range(5):
        unknown = {f"k{number}": 1 for number in range(60_000)}
        with contextlib.suppress(SeismError):
            control.call("POST", "/proxies", unknown)
