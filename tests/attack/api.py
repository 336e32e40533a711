"""Single calls of the control API that are as much work as a call can be."""

from __future__ import annotations

import contextlib
import os
import socket
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


CHUNKED = (
    b"zz\r\n{}\r\n0\r\n\r\n",
    b"-1\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}xx\r\n0\r\n\r\n",
    b"2;" + b"a" * 70_000 + b"\r\n{}\r\n0\r\n\r\n",
    b"20\r\n{}",
    b"",
)
"""Bodies that are not whole, or not chunked as they should be."""


def bodies(control: Control, seconds: float) -> None:
    """What a client can get wrong in a chunked body: the log has no traceback of it."""
    for body in CHUNKED:
        for path in (b"POST /proxies", b"GET /version", b"DELETE /proxies/none", b"POST /none"):
            with socket.create_connection((control.host, control.port), timeout=5) as client:
                head = b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                client.sendall(path + head + body)
                with contextlib.suppress(OSError):
                    client.settimeout(0.2)
                    client.recv(4096)


def keys(control: Control, seconds: float) -> None:
    """Bodies of nothing but keys that nobody knows."""
    for _ in range(5):
        unknown = {f"k{number}": 1 for number in range(60_000)}
        with contextlib.suppress(SeismError):
            control.call("POST", "/proxies", unknown)
