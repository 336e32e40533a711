"""Two bystanders of an attack, and the sidecar's memory meanwhile."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
class Bystanders:
    """A control call and a proxied echo, again and again, each in a thread of its own."""

    control: Control
    pid: int
    longest: float = 0.0
    """Seconds that the slower one has waited at most."""
    peak: float = 0.0
    """MiB beyond what the idle sidecar has."""
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Bystanders:
        address = created(self.control, "bystander", echo())
        self._idle = resident(self.pid)
        self._over = threading.Event()

        def exchange() -> None:
            with socket.create_connection(address, timeout=PATIENCE) as client:
                client.sendall(b"ping")
                if client.recv(4) != b"ping":
                    raise OSError("the echo is not an echo")

        calls: list[Callable[[], object]] = [
            lambda: self.control.call("GET", "/version"),
            exchange,
        ]
        self._threads = [
            threading.Thread(target=self._again, args=(each,), daemon=True) for each in calls
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            if thread.is_alive():
                self.failures.append("a bystander hangs")

    def _again(self, call: Callable[[], object]) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                call()
            except Exception as error:
                self.failures.append(repr(error))
            self.longest = max(self.longest, time.monotonic() - began)
            self.peak = max(self.peak, resident(self.pid) - self._idle)
            self._over.wait(PAUSE)
