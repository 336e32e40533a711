"""Real sessions, kept: a plain relay that writes down what a client and a server said.

    python -m tests.protocols.record http            records tests/data/http/ again

A recording is a text file. Its first line, ``#``, has the kinds of the exchanges that the
client knows to have made, connections parted by ``/``, its second one why the connection is
opaque from some byte on, if it is. Then comes a line per chunk, in the order in which the
relay had them, ``>`` from the client and ``<`` from the server, as Python literals; ``=``
stands between connections.
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
UP, DOWN = "upstream", "downstream"
MARKS = {UP: ">", DOWN: "<"}
SEPARATOR = " / "
Chunks = list[tuple[str, bytes]]
Said = tuple[bytes, bytes]
"""What the client and the server of one connection have said."""


@dataclass(frozen=True)
class Session:
    """What a client does, and what it knows to have asked."""

    name: str
    kinds: list[list[str]]
    """The kinds of the exchanges of each connection, in order."""
    run: Callable[[int], None]
    """Given the port to connect to."""
    opaque: str = ""
    """Why it is not understood to its end, if it is not."""


class Sessions(dict[str, Session]):
    """The sessions of one protocol."""

    def add(
        self, name: str, kinds: str, opaque: str = ""
    ) -> Callable[[Callable[[int], None]], None]:
        """Declares a session; ``kinds`` are separated by blanks, those of two words hyphened."""

        def declare(run: Callable[[int], None]) -> None:
            asked = [one.split() for one in " ".join(kinds.split()).split(SEPARATOR)]
            self[name] = Session(name, asked, run, opaque)

        return declare


class Relay:
    """Passes on what comes to ``port`` to ``backend``, and keeps it, connection by connection."""

    def __init__(self, backend: int) -> None:
        self._backend = backend
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[Chunks] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._spawn(self._accept)

    def said(self) -> list[Said]:
        """What both sides of each connection have said, in no order of connections."""
        return sorted((stream(one, UP), stream(one, DOWN)) for one in self.connections)

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
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                chunks: Chunks = []
                self.connections.append(chunks)
                done = threading.Barrier(2, lambda ends=(client, server): _close(ends))
                self._spawn(self._pass, client, server, UP, chunks, done)
                self._spawn(self._pass, server, client, DOWN, chunks, done)

    def _pass(
        self, source: socket.socket, sink: socket.socket, way: str, chunks: Chunks,
        done: threading.Barrier,
    ) -> None:  # fmt: skip
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                # Kept before it is sent, so that no answer can come before it.
                with self._lock:
                    chunks.append((way, data))
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        if way == DOWN:  # a client that does not close is not waited for
            with contextlib.suppress(OSError):
                source.shutdown(socket.SHUT_RD)
        done.wait(30)

    def close(self) -> None:
        """Stop listening; wait until all connections are over."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a connection is still open"


def _close(ends: tuple[socket.socket, ...]) -> None:
    for end in ends:
        end.close()


def stream(chunks: Chunks, way: str) -> bytes:
    """All that one side has said."""
    return b"".join(data for to, data in chunks if to == way)


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
    kinds: list[list[str]]
    """Of each connection."""
    opaque: str
    connections: list[Chunks]


def write(path: Path, recording: Recording) -> None:
    """Neighbours of one stream become one line."""
    lines = [f"# {SEPARATOR.join(map(' '.join, recording.kinds))}", f"# {recording.opaque}"]
    for number, chunks in enumerate(recording.connections):
        joined: Chunks = []
        for way, data in chunks:
            if joined and joined[-1][0] == way:
                joined[-1] = (way, joined[-1][1] + data)
            else:
                joined.append((way, data))
        lines += ["="] * (number > 0) + [f"{MARKS[way]} {data!r}" for way, data in joined]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def read(path: Path) -> Recording:
    """The chunks are cut as they are in the file."""
    ways = {mark: way for way, mark in MARKS.items()}
    kinds, opaque, *lines = path.read_text().splitlines()
    connections: list[Chunks] = [[]]
    for line in lines:
        if line == "=":
            connections.append([])
        else:
            connections[-1].append((ways[line[0]], ast.literal_eval(line[2:])))
    return Recording([one.split() for one in kinds[2:].split(SEPARATOR)], opaque[2:], connections)


def recorded(
    protocol: str, *secrets: str, skips: Callable[[str], bool] = lambda name: True
) -> list[Sample]:
    """The recordings of ``protocol``; what a server says first is no request.

    ``skips``: of which ones any request can be taken out.
    """
    found = []
    for path in sorted((DATA / protocol).glob("*.txt")):
        one = read(path)
        for number, (kinds, chunks) in enumerate(zip(one.kinds, one.connections, strict=True)):
            name = path.stem if len(one.connections) == 1 else f"{path.stem} {number}"
            asked = [kind.replace("-", " ") for kind in kinds if kind != "banner"]
            found.append(Sample(name, chunks, asked, one.opaque, secrets, skips(path.stem)))
    return found


def main(protocol: str) -> None:
    """Run the sessions of ``tests/protocols/sessions/PROTOCOL.py`` and keep them."""
    module = importlib.import_module(f"tests.protocols.sessions.{protocol}")
    with module.server() as port:
        for session in module.SESSIONS.values():
            with relay(port) as running:
                session.run(running.port)
            recording = Recording(session.kinds, session.opaque, running.connections)
            write(DATA / protocol / f"{session.name}.txt", recording)
            print(f"{session.name}: {sum(len(data) for data in running.connections)} chunks")


if __name__ == "__main__":
    main(sys.argv[1])
