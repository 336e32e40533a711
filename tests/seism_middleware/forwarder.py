"""A dumb TCP forwarder that remembers what each client sent: the ground truth of the ledger."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

from seism_middleware.tcp import address_text


class Forwarder:
    """Forwards a free port of loopback to ``upstream``; ``sent`` is client -> its bytes."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.sent: dict[str, bytearray] = {}
        self.replies: dict[str, list[tuple[int, int]]] = {}
        """Client -> per reply chunk: (since, offset), as the contract counts them."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ends: dict[socket.socket, tuple[socket.socket, str, bool]] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        self._thread.join(10)
        for sock in [*self._ends, self._listener]:
            sock.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._listener:
                    self._accept()
                elif sock in self._ends:
                    self._relay(sock)

    def _accept(self) -> None:
        client, address = self._listener.accept()
        server = socket.create_connection(self._upstream)
        name = address_text(address)
        self.sent[name] = bytearray()
        self.replies[name] = []
        self._ends[client] = (server, name, True)
        self._ends[server] = (client, name, False)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(sock, selectors.EVENT_READ)

    def _relay(self, sock: socket.socket) -> None:
        other, name, upstream = self._ends[sock]
        try:
            data = sock.recv(65536)
            if data:
                if upstream:
                    self.sent[name] += data
                else:
                    known = self.replies[name]
                    since = known[-1][1] if known else 0
                    known.append((since, len(self.sent[name])))
                other.sendall(data)
                return
        except OSError:
            pass
        for end in (sock, other):
            self._selector.unregister(end)
            del self._ends[end]
            end.close()
