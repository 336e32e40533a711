"""uvloop: its transports are C and cannot be patched, so apps are given them wrapped.

Only a connection to a proxy is wrapped; what is written is claimed in the writer's context, as
with asyncio's own transports. What uvloop reads it hands to the protocol at once, so nothing is
held back that the kernel or asyncio's stream reader does not tell of. When it closes a socket
nobody sees it but the protocol, which is told that the connection is lost.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from seism_middleware.connects import moved, sock_connect
from seism_middleware.drivers.span import Patch, Spans
from seism_middleware.guard import shielded
from seism_middleware.handle import Handle
from seism_middleware.ledger import Ledger
from seism_middleware.traffic import Connection, Request, current


class Transport:
    """A transport of uvloop that claims what is written to it."""

    def __init__(
        self, transport: Any, ledger: Ledger, connection: Connection | None, sock: Handle
    ) -> None:
        self._transport = transport
        self._ledger = ledger
        self._sock = sock
        self._changes = ledger.changes
        """After so many it leads to no proxy, as far as is known, if it has no connection."""
        self._is(connection)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: Any) -> None:
        self._claim((data,))
        self._transport.write(data)

    def writelines(self, lines: Any) -> None:
        lines = list(lines)
        self._claim(lines)
        self._transport.writelines(lines)

    def _is(self, connection: Connection | None) -> None:
        """It is the transport of ``connection``, which lives as long as the socket does."""
        self._connection = connection
        if connection is not None:
            sock = self._sock
            connection.sock = lambda: sock
            connection.transport = weakref.ref(self)
            connection.transported = True

    @shielded
    def lost(self) -> None:
        """The socket is closed, or will be in a moment."""
        connection = self._connection
        if connection is not None:
            if self._sock.fileno() == connection.fd:
                connection.verify(self._sock)  # for questions that come after its death
            self._ledger.closed(connection.fd, connection)

    @shielded
    def _claim(self, parts: Any) -> None:
        if self._connection is None and self._changes != self._ledger.changes:
            self._changes = self._ledger.changes
            self._is(self._ledger.adopt(self._sock))
        if self._connection is not None and not self._transport.is_closing():
            size = sum(memoryview(part).nbytes for part in parts)
            self._connection.asks(next(iter(parts), b""))
            self._ledger.claim(self._connection, size, self._sock)


def patches(spans: Spans) -> Iterator[Patch]:
    """``create_connection``, ``start_tls``, ``sock_connect`` of uvloop's loop, a Python class."""
    loop = sys.modules["uvloop"].Loop
    ledger = spans.ledger

    @shielded
    def refused(since: float, host: Any = None, port: Any = None, **kwargs: Any) -> None:
        backend = ledger.backend_at(*moved(host, int(port))) if host and port else None
        if backend is not None:
            ledger.refused(backend, since)

    def create_connection(original: Any) -> Any:
        async def create_connection(
            self: Any, protocol_factory: Callable[[], Any], *args: Any, **kwargs: Any
        ) -> Any:
            born, opener, made = time.monotonic(), current.get(), []

            def factory() -> Any:
                protocol = protocol_factory()
                connection_made = protocol.connection_made

                def wrapped(transport: Any) -> None:
                    del protocol.connection_made
                    secret = bool(kwargs.get("ssl"))
                    wrapping = _wrap(transport, ledger, born, opener, secret)
                    made.append(transport if wrapping is None else wrapping)
                    if isinstance(made[0], Transport):
                        _follow(protocol, made[0])
                    connection_made(made[0])

                try:
                    protocol.connection_made = wrapped
                except AttributeError:
                    pass  # no room in it: its connection stays unseen
                return protocol

            try:
                transport, protocol = await original(self, factory, *args, **kwargs)
            except OSError:
                if not made:
                    refused(born, *args, **kwargs)
                raise
            return (made[0] if made else transport), protocol

        return create_connection

    def start_tls(original: Any) -> Any:
        async def start_tls(self: Any, transport: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(transport, Transport):
                return await original(self, transport, *args, **kwargs)
            if transport._connection is not None:
                transport._connection.opaque = True
            made = await original(self, transport._transport, *args, **kwargs)
            return Transport(made, ledger, transport._connection, transport._sock)

        return start_tls

    yield loop, "create_connection", create_connection
    yield loop, "start_tls", start_tls
    yield loop, "sock_connect", lambda original: sock_connect(original, None, ledger)


@shielded
def _wrap(transport: Any, ledger: Ledger, born: float, opener: Request | None, secret: bool) -> Any:
    """``transport`` as the app gets it: itself, unless it leads to a proxy."""
    try:
        sock = Handle(transport.get_extra_info("socket").fileno())
        backend = ledger.backend_of(sock.getpeername())
    except (OSError, AttributeError):
        return transport
    if backend is None:
        # Before it is known which proxies there are, any may lead to one.
        return transport if ledger.changes else Transport(transport, ledger, None, sock)
    connection = ledger.connection(sock, backend, born, opener)
    connection.opaque = connection.opaque or secret
    wrapped = Transport(transport, ledger, connection, sock)
    ledger.add(connection)
    return wrapped


@shielded
def _follow(protocol: Any, transport: Transport) -> None:
    connection_lost = protocol.connection_lost

    def wrapped(error: BaseException | None) -> None:
        del protocol.connection_lost
        transport.lost()
        connection_lost(error)

    protocol.connection_lost = wrapped
