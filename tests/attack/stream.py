"""Workers' streams: one that stays full, one whose requests never end, many that say nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

from seism.client import Control
from seism.clock import MonotonicClock
from seism_middleware.wire import PROTOCOL, STREAM_PATH


def joined(control: Control, name: str) -> socket.socket:
    """A stream that has said hello."""
    stream = socket.create_connection((control.host, control.port), timeout=20)
    stream.sendall(
        f"GET {STREAM_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        f"Upgrade: {PROTOCOL}\r\n\r\n".encode()
    )
    while b"\r\n\r\n" not in stream.recv(4096):
        pass
    clock = MonotonicClock()
    hello = {"kind": "hello", "worker": name, "pid": 1, "interface": "wsgi", "n": 1,
             "clock": {"domain": clock.domain, "now": clock.now()}}  # fmt: skip
    stream.sendall(json.dumps(hello).encode() + b"\n")
    return stream


def _pour(control: Control, blocks: Iterator[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    with contextlib.suppress(OSError), joined(control, "flood") as stream:
        while time.monotonic() < end:
            stream.sendall(next(blocks))


def unknown(control: Control, seconds: float) -> None:
    """The shortest records, which are read and left out."""
    block = b'{"kind":"zzz"}\n' * 1000

    def blocks() -> Iterator[bytes]:
        while True:
            yield block

    _pour(control, blocks(), seconds)


def endless(control: Control, seconds: float, size: int = 0) -> None:
    """Requests that begin and never end."""

    def blocks() -> Iterator[bytes]:
        number = 1
        while True:
            lines = []
            for _ in range(200):
                number += 1
                begun = {"kind": "request.begun", "n": number, "request": f"r{number}",
                         "method": "GET", "at": 1.0, "route": "/" + "x" * size}  # fmt: skip
                lines.append(json.dumps(begun).encode() + b"\n")
            yield b"".join(lines)

    _pour(control, blocks(), seconds)


def endless_long(control: Control, seconds: float) -> None:
    """The same in the longest lines."""
    endless(control, seconds, 60_000)


def half_lines(control: Control, seconds: float) -> None:
    """Many streams with the largest part of a line."""
    streams = [joined(control, f"half-{number}") for number in range(200)]
    for stream in streams:
        with contextlib.suppress(OSError):
            stream.sendall(b"x" * 60_000)
    time.sleep(min(seconds, 1))
    for stream in streams:
        stream.close()
