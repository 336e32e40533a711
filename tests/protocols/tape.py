"""A plain TCP relay that keeps what real clients and servers say to each other.

The recordings in ``tests/data/<protocol>/`` are made with it, each by a script that says how,
and can be made again. A recording is text: ``> hex`` is a chunk of the client, ``< hex`` one
of the server, in the order in which the relay got them; ``=`` begins a connection; lines with
``#`` come first and tell what it is.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

UP, DOWN = "upstream", "downstream"
MARKS = {UP: ">", DOWN: "<"}

Chunks = list[tuple[str, bytes]]
"""(stream, bytes) of one connection."""


@dataclass
class Recording:
    """What went over the relay, connection by connection, and what is known about it."""

    connections: list[Chunks] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        lines = [f"# {name}: {value}" for name, value in self.notes.items()]
        for chunks in self.connections:
            lines.append("=")
            lines += [f"{MARKS[stream]} {data.hex()}" for stream, data in chunks]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Recording:
        recording = cls()
        streams = {mark: stream for stream, mark in MARKS.items()}
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                name, _, value = line[2:].partition(": ")
                recording.notes[name] = value
            elif line == "=":
                recording.connections.append([])
            else:
                recording.connections[-1].append((streams[line[0]], bytes.fromhex(line[2:])))
        return recording


class Relay:
    """Listens on ``port`` of loopback, relays to ``backend``, and keeps all bytes."""

    def __init__(self, backend: int) -> None:
        self._backend = backend
        self.recording = Recording()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._start(self._accept)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._backend))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            chunks: Chunks = []
            self.recording.connections.append(chunks)
            done = threading.Barrier(2, lambda a=client, b=server: (a.close(), b.close()))
            self._start(self._copy, UP, client, server, chunks, done)
            self._start(self._copy, DOWN, server, client, chunks, done)

    def _copy(
        self,
        stream: str,
        source: socket.socket,
        target: socket.socket,
        chunks: Chunks,
        done: threading.Barrier,
    ) -> None:
        try:
            while data := source.recv(65536):
                # Written down before it is sent, so that no answer can come before it.
                with self._lock:
                    chunks.append((stream, data))
                target.sendall(data)
        except OSError:
            pass
        for end in (target, source) if stream == DOWN else (target,):
            try:
                end.shutdown(socket.SHUT_WR if end is target else socket.SHUT_RD)
            except OSError:
                pass
        done.wait(30)

    def close(self) -> None:
        """Stop listening; wait until all that was relayed has been written down."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)


@contextmanager
def recorded(backend: int) -> Iterator[Relay]:
    """A relay to ``backend`` while the block lasts."""
    relay = Relay(backend)
    try:
        yield relay
    finally:
        relay.close()
