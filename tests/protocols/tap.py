"""What a client says directly, and what it says through a proxy whose faults never match."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Self

from seism.model import ProxySpec, ToxicSpec
from tests.proxy.harness import Proxies, eventually

Said = tuple[bytes, bytes]
"""What the client and the server of one connection have said."""


class Tap:
    """Forwards to ``port`` and keeps what both sides of each connection have said."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._said: list[tuple[bytearray, bytearray]] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a connection is still open"
        self._listener.close()

    def said(self) -> list[Said]:
        """Of all connections, in no order."""
        return sorted((bytes(client), bytes(server)) for client, server in self._said)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target), 10)
            kept = (bytearray(), bytearray())
            self._said.append(kept)
            done = threading.Barrier(2, action=lambda ends=(client, server): _close(ends))
            for source, sink, keep in ((client, server, kept[0]), (server, client, kept[1])):
                source.settimeout(None)
                relay = threading.Thread(target=_relay, args=(source, sink, keep, done))
                self._threads.append(relay)
                relay.start()


def _relay(
    source: socket.socket, sink: socket.socket, keep: bytearray, done: threading.Barrier
) -> None:
    try:
        while data := source.recv(65536):
            keep += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    done.wait(10)


def _close(ends: tuple[socket.socket, ...]) -> None:
    for end in ends:
        end.close()


def assert_transparent(
    port: int, protocol: str, never: ToxicSpec, talk: Callable[[int], None], ways: int = 1
) -> list[Said]:
    """``talk``, given a port, has the same conversation through a proxy with ``never`` armed.

    Not one byte differs between the two sides of the proxy, and the client says what it
    says directly. ``talk`` closes what it opens, and is deterministic; of a client that says
    it in one of several ways, as replies come, so many direct talks are listened to. Returns
    what was said.
    """
    directly = []
    for _ in range(ways):
        with Tap(port) as direct:
            talk(direct.port)
        directly.append([client for client, _ in direct.said()])
    with Tap(port) as behind, Proxies() as proxies:
        spec = ProxySpec("backend", f"127.0.0.1:{behind.port}", protocol=protocol)
        proxy = proxies.create(spec, [never])
        with Tap(proxy.address[1]) as before:
            talk(before.port)
        eventually(lambda: proxy.connections == 0)
        assert proxies.began == []
        assert dict(proxy.opaque) == {}
    assert before.said() == behind.said()
    assert [client for client, _ in before.said()] in directly
    assert any(server for _, server in before.said())
    return before.said()
