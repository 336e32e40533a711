"""A sidecar for the published clients, and a backend behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from seism.client import Control
from tests.processes import sidecar


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with sidecar(tmp_path_factory.mktemp("clients") / "journal.jsonl") as control:
        yield control


@pytest.fixture
def control(served: Control, monkeypatch: pytest.MonkeyPatch) -> Control:
    """A sidecar without proxies, which nobody's proxy settings stand before."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    for name in served.proxies():
        served.call("DELETE", f"/proxies/{name}")
    return served


@pytest.fixture
def backend() -> Iterator[str]:
    """``host:port`` of a server that says ``hello`` to who connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                client.sendall(b"hello")
                client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield "{}:{}".format(*listener.getsockname())
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert not thread.is_alive()


def greeting(listen: str) -> bytes:
    """What the backend says through the proxy at ``listen``; nothing if that is down."""
    host, _, port = listen.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), 20) as client:
            return client.recv(100)
    except OSError:
        return b""
