"""uvloop's transports: as long as the socket is open the connection is, and what is unread is."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from seism_middleware import harm
from seism_middleware.contract import Proxied
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.tcp import address_text
from seism_middleware.traffic import Connection

uvloop = pytest.importorskip("uvloop")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def ledger(listener: socket.socket) -> Iterator[Ledger]:
    ledger = Ledger()
    ledger.watch(0, [Proxied("db", *listener.getsockname())])
    patches = Patches(ledger)
    patches.install()
    yield ledger
    patches.uninstall()


def run(main: Callable[[], Awaitable[None]]) -> None:
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def only(ledger: Ledger) -> Connection:
    gc.collect()
    ledger.prune()
    (connection,) = ledger._open.values()
    return connection


def test_it_lives_as_long_as_its_socket(ledger: Ledger, listener: socket.socket) -> None:
    async def main() -> None:
        _, writer = await asyncio.open_connection(*listener.getsockname())
        far, _ = listener.accept()
        with far:
            writer.write(b"question")
            # As redis-py does: for a moment there is a socket object with its descriptor.
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection = only(ledger)
            assert connection.died is None
            (row,) = ledger.census()
            assert (row.backend, row.local) == ("db", address_text(sock.getsockname()))
            writer.close()
            await writer.wait_closed()
        assert connection.died is not None
        assert ledger.census() == ()

    run(main)


def test_the_app_may_let_go_of_the_transport(ledger: Ledger, listener: socket.socket) -> None:
    lost = asyncio.Event()

    class Silent(asyncio.Protocol):
        def connection_lost(self, error: BaseException | None) -> None:
            lost.set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(Silent, *listener.getsockname())
        far, _ = listener.accept()
        with far:
            connection = only(ledger)
            assert len(ledger.census()) == 1
        await lost.wait()
        assert connection.died is not None

    run(main)


def test_what_the_stream_reader_holds_is_unread(ledger: Ledger, listener: socket.socket) -> None:
    async def main() -> None:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        far, _ = listener.accept()
        with far:
            writer.write(b"question")
            connection = only(ledger)
            far.sendall(b"late reply")
            assert await reader.readexactly(5) == b"late "
            sock = connection.sock()
            assert harm.unread(connection, sock) == 5
            writer.close()
            await writer.wait_closed()

    run(main)
