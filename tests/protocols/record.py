"""Real sessions, kept: a plain relay that writes down what a client and a server said.

    python -m tests.protocols.record http            records tests/data/http/ again

A recording is a text file of one connection. Its first line, ``#``, has the kinds of the
exchanges that the client knows to have made, its second one why the connection is opaque
from some byte on, if it is. Then comes a line per chunk, in the order in which the relay had
them, ``>`` from the client and ``<`` from the server, as Python literals.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.protocols.conformance import Sample

DATA = Path(__file__).parent.parent / "data"
MARKS = {"upstream": ">", "downstream": "<"}
Chunks = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Session:
    """What a client does, and what it knows to have asked."""

    name: str
    kinds: list[str]
    """The kinds of the exchanges, in order."""
    run: Callable[[int], None]
    """Given the port to connect to. All on one connection."""
    opaque: str = ""
    """Why it is not understood to its end, if it is not."""


class Sessions(dict[str, Session]):
    """The sessions of one protocol."""

    def add(
        self, name: str, kinds: str, opaque: str = ""
    ) -> Callable[[Callable[[int], None]], None]:
        """Declares a session; ``kinds`` are separated by blanks."""

        def declare(run: Callable[[int], None]) -> None:
            self[name] = Session(name, kinds.split(), run, opaque)

        return declare


class Relay:
    """Passes on what comes to ``port`` to ``backend``, and keeps it."""

    def __init__(self, backend: int) -> None:
        self._backend = backend
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[Chunks] = []
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._spawn(self._accept)

    def _spawn(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._backend), 10)
                server.settimeout(None)
                self._sockets += (client, server)
                chunks: Chunks = []
                self.connections.append(chunks)
                self._spawn(self._pass, client, server, "upstream", chunks)
                self._spawn(self._pass, server, client, "downstream", chunks)

    def _pass(self, source: socket.socket, sink: socket.socket, way: str, chunks: Chunks) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    chunks.append((way, data))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for one in self._sockets:
            one.close()


@contextmanager
def relay(backend: int) -> Iterator[Relay]:
    """A relay to the server on port ``backend``; its connections are over when it ends."""
    running = Relay(backend)
    try:
        yield running
    finally:
        running.close()


@dataclass(frozen=True)
class Recording:
    kinds: list[str]
    opaque: str
    chunks: Chunks


def write(path: Path, recording: Recording) -> None:
    """Neighbours of one stream become one line."""
    joined: Chunks = []
    for way, data in recording.chunks:
        if joined and joined[-1][0] == way:
            joined[-1] = (way, joined[-1][1] + data)
        else:
            joined.append((way, data))
    lines = [f"# {' '.join(recording.kinds)}", f"# {recording.opaque}"]
    lines += [f"{MARKS[way]} {data!r}" for way, data in joined]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def read(path: Path) -> Recording:
    """The chunks are cut as they are in the file."""
    ways = {mark: way for way, mark in MARKS.items()}
    kinds, opaque, *lines = path.read_text().splitlines()
    chunks = [(ways[line[0]], ast.literal_eval(line[2:])) for line in lines]
    return Recording(kinds[2:].split(), opaque[2:], chunks)


def recorded(protocol: str, *secrets: str, skips: bool = True) -> list[Sample]:
    """The recordings of ``protocol``; what a server says first is no request."""
    found = []
    for path in sorted((DATA / protocol).glob("*.txt")):
        one = read(path)
        kinds = [kind for kind in one.kinds if kind != "banner"]
        found.append(Sample(path.stem, one.chunks, kinds, one.opaque, secrets, skips))
    return found


def main(protocol: str) -> None:
    """Run the sessions of ``tests/protocols/sessions/PROTOCOL.py`` and keep them."""
    module = importlib.import_module(f"tests.protocols.sessions.{protocol}")
    with module.server() as port:
        for session in module.SESSIONS.values():
            with relay(port) as running:
                session.run(running.port)
            (chunks,) = running.connections
            recording = Recording(session.kinds, session.opaque, chunks)
            write(DATA / protocol / f"{session.name}.txt", recording)
            print(f"{session.name}: {sum(len(data) for _, data in chunks)} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
