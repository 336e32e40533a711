"""Floods of short requests at a proxy with a fault armed: what it has held back is let out."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Any

from seism.client import Control
from tests.attack.bystander import created

REQUEST = b"PING\r\n"
COUNT = 40_000
"""More than a connection may have unanswered."""
HELD = 1.5
"""Seconds for which what is held is, unless it is let go of before."""


def _server() -> str:
    """Answers each line."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while data := client.recv(1 << 16):
                client.sendall(b"+OK\r\n" * data.count(b"\n"))

    def serve() -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=talk, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return "{}:{}".format(*listener.getsockname())


@contextlib.contextmanager
def _flooded(control: Control, late: str, seconds: float = HELD, **exchange: Any) -> Any:
    """A client that has asked ``COUNT`` times, or still does."""
    address = created(control, "db", _server(), protocol="redis")
    attributes = {"delay": int(seconds * 1000), "late": late}
    control.add_toxic(
        "db",
        {"type": "exchange_delay", "name": "late", "attributes": attributes, "exchange": exchange},
    )
    with socket.create_connection(address, timeout=30) as client:
        flood = threading.Thread(target=_pour, args=(client,), daemon=True)
        flood.start()
        yield client
        flood.join(30)


def _pour(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        client.sendall(REQUEST * COUNT)


def _answered(client: socket.socket) -> None:
    left = COUNT * len(b"+OK\r\n")
    while left > 0:
        data = client.recv(1 << 16)
        if not data:
            raise OSError("the connection ended early")
        left -= len(data)


def request(control: Control, seconds: float) -> None:
    """All behind one request that is late."""
    with _flooded(control, "request", nth=1) as client:
        _answered(client)


def reply(control: Control, seconds: float) -> None:
    """All behind one reply that is late."""
    with _flooded(control, "reply", nth=1) as client:
        _answered(client)


def each(control: Control, seconds: float) -> None:
    """Each one late by itself."""
    with _flooded(control, "reply") as client:
        _answered(client)


def removed(control: Control, seconds: float) -> None:
    """Each one late, until control takes the fault away."""
    with _flooded(control, "reply", 60) as client:
        threading.Event().wait(HELD)
        control.call("DELETE", "/proxies/db/toxics/late")
        _answered(client)


def left(control: Control, seconds: float) -> None:
    """Each one late, until their client resets the connection."""
    with _flooded(control, "reply", 60) as client:
        threading.Event().wait(HELD)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
