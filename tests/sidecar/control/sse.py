"""A reader of server-sent events on a plain socket, so that it can also not read."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any

PATIENCE = 30.0


@dataclass(frozen=True)
class Event:
    name: str
    id: str
    data: Any


class Reader:
    """One ``GET /seism/events``; speaks HTTP/1.0, so that the body is the rest of the stream."""

    def __init__(
        self, address: tuple[str, int], target: str = "/seism/events", receive: int = 0,
        **headers: str,
    ) -> None:  # fmt: skip
        self.sock = socket.socket()
        if receive:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(address)
        lines = [f"GET {target} HTTP/1.0", "Host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._buffer = b""
        self.head = ""

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.sock.close()

    def next_head(self) -> str:
        """The status line and the headers; called once, before anything else."""
        self.head = "pending"
        head = self._block(b"\r\n\r\n")
        assert head is not None
        self.head = head
        return head

    def next(self) -> Event:
        """The next event; comments are left out. Fails at the end of the stream."""
        event = self.next_or_end()
        assert event is not None, "the stream ended"
        return event

    def next_or_end(self) -> Event | None:
        while True:
            block = self._block(b"\n\n")
            if block is None:
                return None
            fields = dict(
                line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
            )
            if fields:
                return Event(fields["event"], fields["id"], json.loads(fields["data"]))

    def _block(self, end: bytes) -> str | None:
        if not self.head:
            self.next_head()
        while end not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                return None
            self._buffer += data
        block, _, self._buffer = self._buffer.partition(end)
        return block.decode()
