"""Regular expressions that a backtracking engine never finishes."""

from __future__ import annotations

import contextlib
import socket
import threading

from seism.client import Control
from seism.errors import ConfigurationError
from tests.attack.bystander import created
from tests.proxy.test_expression import WEDGES

SQL = b"SELECT " + b"aaaaaaaaaa, " * 300 + b"b FROM t\0"
STARTUP = b"\x00\x03\x00\x00user\x00a\x00\x00"


def _server() -> str:
    """Says of every message that it is done."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            client, _ = listener.accept()
            with contextlib.suppress(OSError), client:
                client.recv(65536)
                client.sendall(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
                while client.recv(65536):
                    client.sendall(b"C\0\0\0\x0dSELECT 0\0Z\0\0\0\x05I")

    threading.Thread(target=serve, daemon=True).start()
    return "{}:{}".format(*listener.getsockname())


def attack(control: Control, seconds: float) -> None:
    address = created(control, "db", _server(), protocol="postgresql")
    for number, pattern in enumerate(WEDGES):
        toxic = {"type": "exchange_delay", "name": f"t{number}", "stream": "upstream",
                 "attributes": {"delay": 0}, "exchange": {"regex": pattern}}  # fmt: skip
        with contextlib.suppress(ConfigurationError):
            control.add_toxic("db", toxic)
    with socket.create_connection(address, timeout=20) as client:
        client.sendall((len(STARTUP) + 4).to_bytes(4, "big") + STARTUP)
        client.recv(100)
        for _ in range(20):
            client.sendall(b"Q" + (len(SQL) + 4).to_bytes(4, "big") + SQL)
            client.recv(100)
