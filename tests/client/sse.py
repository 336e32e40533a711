"""A small server of events that does what a test tells it."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from seism_middleware.contract import PerturbationBegan, PerturbationEnded
from seism_middleware.wire import to_dict

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def event(number: int, record: object) -> bytes:
    return f"id: {number}\ndata: {json.dumps(to_dict(record))}\n\n".encode()


def began(number: int) -> PerturbationBegan:
    return PerturbationBegan(f"p{number}", "db", "slow", "latency", float(number), "upstream")


def ended(number: int) -> PerturbationEnded:
    return PerturbationEnded(f"p{number}", float(number), "passed")


class Events:
    """What is sent to the next client, or to the one that is connected."""

    def __init__(self, server: socket.socket, chunked: bool) -> None:
        self._server = server
        self._chunked = chunked
        self._said: queue.Queue[bytes | None] = queue.Queue()
        self.heard: list[str] = []
        """The head of each request."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def say(self, data: bytes) -> None:
        self._said.put(data)

    def hang_up(self) -> None:
        self._said.put(None)

    def run(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            with peer:
                self.heard.append(peer.recv(65536).decode())
                how = b"Transfer-Encoding: chunked" if self._chunked else b"Connection: close"
                peer.sendall(HEAD + how + b"\r\n\r\n")
                while (data := self._said.get()) is not None:
                    try:
                        peer.sendall(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)
                    except OSError:
                        break


@contextmanager
def serving(chunked: bool = False) -> Iterator[Events]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        events = Events(server, chunked)
        thread = threading.Thread(target=events.run)
        thread.start()
        try:
            yield events
        finally:
            server.shutdown(socket.SHUT_RDWR)
            events.hang_up()
            events.hang_up()
            thread.join(30)
            assert not thread.is_alive()
