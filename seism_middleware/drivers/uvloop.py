"""uvloop: its transports are C and cannot be patched, so apps are given them wrapped.

Only a connection to a proxy is wrapped; what is written is claimed in the writer's context, as
with asyncio's own transports.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from seism_middleware.drivers.span import Patch, Spans
from seism_middleware.handle import Handle
from seism_middleware.ledger import Connection, Ledger
from seism_middleware.request import Request, current


class Transport:
    """A transport of uvloop that claims what is written to it."""

    def __init__(
        self, transport: Any, ledger: Ledger, connection: Connection | None, sock: Handle
    ) -> None:
        self._transport = transport
        self._ledger = ledger
        self._connection = connection
        """None: it does not lead to a proxy, as far as is known after so many ``changes``."""
        self._changes = ledger.changes
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: Any) -> None:
        self._claim(len(data) if type(data) is bytes else memoryview(data).nbytes)
        self._transport.write(data)

    def writelines(self, lines: Any) -> None:
        lines = list(lines)
        self._claim(sum(memoryview(line).nbytes for line in lines))
        self._transport.writelines(lines)

    def _claim(self, size: int) -> None:
        if self._connection is None and self._changes != self._ledger.changes:
            self._changes = self._ledger.changes
            self._connection = self._ledger.adopt(self._sock)
            if self._connection is not None:
                self._connection.transported = True
        if self._connection is not None and not self._transport.is_closing():
            self._ledger.claim(self._connection, size, self._sock)


def patches(spans: Spans) -> Iterator[Patch]:
    """``create_connection`` and ``start_tls`` of uvloop's loop, a Python class."""
    loop = sys.modules["uvloop"].Loop
    ledger = spans.ledger

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
                    made.append(_wrap(transport, ledger, born, opener, secret))
                    connection_made(made[0])

                try:
                    protocol.connection_made = wrapped
                except AttributeError:
                    pass  # no room in it: its connection stays unseen
                return protocol

            transport, protocol = await original(self, factory, *args, **kwargs)
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
    connection.transported = True
    connection.opaque = connection.opaque or secret
    ledger.add(connection)
    return Transport(transport, ledger, connection, sock)
