"""Two bystanders of an attack, and the sidecar's memory meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from seism.client import Control

PAUSE = 0.02
PATIENCE = 30.0


def echo() -> str:
    """The address of a server that says again whatever it is told."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def talk(client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(65536):
                    client.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=talk, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return "{}:{}".format(*listener.getsockname())


def created(control: Control, name: str, upstream: str, **more: Any) -> tuple[str, int]:
    """Where a new proxy listens."""
    made = control.call("POST", "/proxies", {"name": name, "upstream": upstream, **more})
    host, _, port = made["listen"].rpartition(":")
    return host, int(port)


def resident(pid: int) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@dataclass
class Seen:
    """What the bystanders have noticed."""

    longest: float = 0.0
    """Seconds that the slower one has waited at most."""
    peak: float = 0.0
    """MiB beyond what the idle sidecar has."""
    failures: list[str] = field(default_factory=list)


class Bystanders:
    """A control call and a proxied echo, again and again, each in a thread of its own.

    They are in a process of their own, and their echo with them: the attacker's threads would keep
    them waiting for the interpreter's lock.
    """

    def __init__(self, address: tuple[str, int], pid: int) -> None:
        self.seen = Seen()
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_watch, args=(*address, pid, theirs), daemon=True)

    def __enter__(self) -> Seen:
        self._process.start()
        assert self._pipe.poll(PATIENCE) and self._pipe.recv() == "ready"
        return self.seen

    def __exit__(self, *raised: object) -> None:
        self._pipe.send("over")
        if self._pipe.poll(2 * PATIENCE):
            seen: Seen = self._pipe.recv()
            self.seen.longest, self.seen.peak = seen.longest, seen.peak
            self.seen.failures += seen.failures
        else:
            self.seen.failures.append("a bystander hangs")
            self._process.kill()
        self._process.join(PATIENCE)
        self._pipe.close()


def _watch(host: str, port: int, pid: int, pipe: Connection) -> None:
    """The bystanders' process, until it is told that it is over."""
    control = Control(host, port, timeout=PATIENCE)
    address = created(control, "bystander", echo())
    seen, idle, over = Seen(), resident(pid), threading.Event()

    def exchange() -> None:
        with socket.create_connection(address, timeout=PATIENCE) as client:
            client.sendall(b"ping")
            if client.recv(4) != b"ping":
                raise OSError("the echo is not an echo")

    def again(call: Callable[[], object]) -> None:
        while not over.is_set():
            began = time.monotonic()
            try:
                call()
            except Exception as error:
                seen.failures.append(repr(error))
            seen.longest = max(seen.longest, time.monotonic() - began)
            seen.peak = max(seen.peak, resident(pid) - idle)
            over.wait(PAUSE)

    calls: list[Callable[[], object]] = [lambda: control.call("GET", "/version"), exchange]
    threads = [threading.Thread(target=again, args=(each,), daemon=True) for each in calls]
    for thread in threads:
        thread.start()
    pipe.send("ready")
    pipe.recv()
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
        if thread.is_alive():
            seen.failures.append("a bystander hangs")
    pipe.send(seen)
