"""A pooled keep-alive client of an HTTP backend, made by hand, that waits 0.3 s for a reply.

``$MODE``: ``reuse`` puts a connection back after a timeout as if nothing had happened;
``reuse-bytewise`` does the same, and reads byte by byte, so never into the next reply;
``close`` closes it; ``drain`` puts it back with a note that a reply is due, and reads that
before it asks again; ``starve`` forgets the connection, and its place in the pool.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
from collections.abc import Iterable
from typing import Any

from seism_middleware.wsgi import SeismWSGI

log = logging.getLogger("app")
MODE = os.environ["MODE"]
host, _, port = os.environ["BACKEND"].rpartition(":")


class Connection:
    """``due`` replies have been asked for and not been read."""

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.due = 0
        self.data = b""

    def get(self, key: str) -> str:
        if self.sock is None:
            self.sock = socket.create_connection((host, int(port)), 2)
            self.due, self.data = 0, b""
        self.sock.settimeout(0.3)
        while MODE == "drain" and self.due:
            self._reply()
        self.sock.sendall(f"GET /{key} HTTP/1.1\r\nHost: store\r\n\r\n".encode())
        self.due += 1
        return self._reply()

    def _reply(self) -> str:
        assert self.sock is not None
        while b"\r\n\r\n" not in self.data:
            self._more()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        while len(self.data) < length:
            self._more()
        body, self.data = self.data[:length], self.data[length:]
        self.due -= 1
        return body.decode()

    def _more(self) -> None:
        assert self.sock is not None
        more = self.sock.recv(1 if MODE == "reuse-bytewise" else 4096)
        if not more:
            raise ConnectionError("the backend has closed the connection")
        self.data += more

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None


pool: queue.LifoQueue[Connection] = queue.LifoQueue()
for _ in range(3):
    pool.put(Connection())


def fetch(key: str) -> str:
    connection = pool.get()
    try:
        value = connection.get(key)
    except TimeoutError:
        if MODE == "starve":
            raise
        if MODE == "close":
            connection.close()
        pool.put(connection)
        raise
    except OSError:
        connection.close()
        pool.put(connection)
        raise
    pool.put(connection)
    return value


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain")]
    key = environ["seism.request"]
    try:
        value = fetch(key)
    except OSError as error:
        log.error("store failed: %s", type(error).__name__)
        start_response("503 Service Unavailable", [*headers, ("Retry-After", "1")])
        return [b"later"]
    if value != key:
        with open(os.environ["TRUTH"], "a", encoding="utf-8") as file:
            file.write(f"{key}\n")
    start_response("200 OK", headers)
    return [value.encode()]


app = SeismWSGI(application)
