"""What connections cost the sidecar in memory: ``python bench/memory.py``, a table.

A real ``seism serve``, looked at from outside (VmRSS of /proc/PID/status): idle
connections, and one connection through which much goes to a reader that is slow.
``--gib 8`` for the long run.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from seism.client import Control

KIB, MIB, GIB = 2**10, 2**20, 2**30
PIECE = 256 * KIB
PAUSE = 0.002
"""Seconds that the slow reader rests after each MiB."""


SEISM = (sys.executable, "-m", "seism")


@contextmanager
def serve(log: Path | None = None, seism: tuple[str, ...] = SEISM) -> Iterator[tuple[Control, int]]:
    """A sidecar; its control API and its pid. ``seism`` is the program to run."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        errors = stack.enter_context((log or Path(folder, "log")).open("wb"))
        child = subprocess.Popen(
            [*seism, "serve", "--port=0", f"--journal={folder}/journal"],
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            assert child.stdout is not None
            line = child.stdout.readline().decode().strip()
            host, _, port = line.removeprefix("http://").rpartition(":")
            yield Control(host, int(port)), child.pid
        finally:
            child.terminate()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


def rss(pid: int) -> int:
    """Bytes of ``pid`` that are in memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    raise ProcessLookupError(pid)


def proxy(control: Control, name: str, upstream: socket.socket) -> tuple[str, int]:
    """A new proxy before ``upstream``; where it listens."""
    body = {"name": name, "upstream": "{}:{}".format(*upstream.getsockname())}
    host, _, port = control.call("POST", "/proxies", body)["listen"].rpartition(":")
    return host, int(port)


def idle(control: Control, pid: int, count: int) -> float:
    """Bytes per idle connection, of ``count``; each has carried one byte both ways."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        at = proxy(control, f"idle{count}", listener)

        def open_one() -> None:
            client = stack.enter_context(socket.create_connection(at))
            server = stack.enter_context(listener.accept()[0])
            for sender, receiver in ((client, server), (server, client)):
                sender.sendall(b"x")
                assert receiver.recv(1) == b"x"

        for _ in range(50):
            open_one()
        before = rss(pid)
        for _ in range(count):
            open_one()
        return (rss(pid) - before) / count


def bulk(control: Control, pid: int, size: int, pause: float = PAUSE) -> int:
    """How much memory grew at most while ``size`` bytes went to a slow reader."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        at = proxy(control, f"bulk{size}", listener)
        client = stack.enter_context(socket.create_connection(at))
        server = stack.enter_context(listener.accept()[0])
        # The first bytes make the buffers, which stay.
        server.sendall(bytes(PIECE))
        buffer = bytearray(PIECE)
        left = PIECE
        while left:
            left -= client.recv_into(buffer)
        before = most = rss(pid)

        def send() -> None:
            piece = bytes(PIECE)
            for _ in range(size // PIECE):
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        got = looked = 0
        while read := client.recv_into(buffer):
            got += read
            if got - looked >= MIB:
                looked = got
                most = max(most, rss(pid))
                time.sleep(pause)
        sending.join()
        assert got == size, f"{got} of {size} bytes arrived"
        return max(most, rss(pid)) - before


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--connections", type=int, nargs="*", default=[1000, 5000])
    arguments.add_argument("--gib", type=float, default=1.0, help="through one connection")
    given = arguments.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = []
    for count in given.connections:
        with serve() as (control, pid):
            rows.append((f"idle, each of {count}", f"{idle(control, pid, count) / KIB:.2f} KiB"))
    with serve() as (control, pid):
        grown = bulk(control, pid, int(given.gib * GIB)) / MIB
        rows.append((f"{given.gib:g} GiB to a slow reader, growth", f"{grown:.2f} MiB"))
    lines = [f"Python {sys.version.split()[0]}, {os.cpu_count()} cores"]
    lines += [f"{what:40} {figure:>12}" for what, figure in rows]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
