from __future__ import annotations

import asyncio
import asyncio.selector_events
import gc
import logging
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from seism_middleware.contract import Proxied
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.tcp import written
from seism_middleware.traffic import Request, current

CLASSES = [
    socket.socket,
    ssl.SSLSocket,
    logging.Logger,
    asyncio.selector_events._SelectorSocketTransport,  # type: ignore[attr-defined]
    asyncio.selector_events.BaseSelectorEventLoop,
]


@pytest.fixture
def patches() -> Iterator[Patches]:
    patches = Patches(Ledger())
    yield patches
    patches.uninstall()


@pytest.fixture
def pair(patches: Patches) -> Iterator[tuple[socket.socket, socket.socket, Ledger]]:
    """A proxied connection: the app's end, the proxy's end, the ledger."""
    ledger = patches._ledger
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ledger.watch(0, [Proxied("db", "127.0.0.1", listener.getsockname()[1])])
        patches.install()
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            with server:
                yield client, server, ledger


def test_undone_exactly_and_repeatable(patches: Patches) -> None:
    before = [dict(cls.__dict__) for cls in CLASSES]
    patches.install()
    patches.install()
    assert "socket.socket.send" in patches.names
    assert "asyncio.selector_events._SelectorSocketTransport.write" in patches.names
    assert len(set(patches.names)) == len(patches.names) >= 10
    assert socket.socket.send is not before[0].get("send")
    patches.uninstall()
    patches.uninstall()
    assert patches.names == ()
    assert [dict(cls.__dict__) for cls in CLASSES] == before


def test_a_later_patch_of_another_is_left_alone(patches: Patches) -> None:
    patches.install()
    ours = socket.socket.connect

    def theirs(self: Any, address: Any) -> Any:
        return ours(self, address)

    socket.socket.connect = theirs  # type: ignore[method-assign,assignment]
    try:
        patches.uninstall()
        assert socket.socket.connect is theirs
    finally:
        del socket.socket.connect


def test_short_sends_and_errors_are_corrected(
    pair: tuple[socket.socket, socket.socket, Ledger],
) -> None:
    client, _, ledger = pair
    request = Request("r", "GET", 0.0)
    current_token = current.set(request)
    client.setblocking(False)
    block = b"x" * 1_000_000
    total = 0
    with pytest.raises(BlockingIOError):
        while True:
            total += client.send(block)
    connection = ledger.table[client.fileno()]
    assert connection is not None
    assert connection.sent == total == written(client) == request.sends[connection][1]
    client.settimeout(0.01)
    with pytest.raises(TimeoutError):
        client.sendall(block * 10)
    assert connection.sent == written(client)
    client.setblocking(True)
    client.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        client.sendall(b"more")
    assert connection.sent == written(client)
    assert not connection.opaque
    current.reset(current_token)


def test_sendmsg_and_buffers(pair: tuple[socket.socket, socket.socket, Ledger]) -> None:
    import array

    client, _, ledger = pair
    client.sendmsg(iter([b"ab", bytearray(b"cd"), memoryview(array.array("I", [1, 2]))]))
    client.send(array.array("I", [1]))
    client.makefile("wb", buffering=0).write(b"123")
    connection = ledger.table[client.fileno()]
    assert connection is not None and connection.sent == written(client) == 19
    with pytest.raises(TypeError):
        client.send("text")  # type: ignore[arg-type]
    assert connection.sent == 19


def test_tls_is_opaque_and_known_by_its_descriptor(
    pair: tuple[socket.socket, socket.socket, Ledger],
) -> None:
    client, _, ledger = pair
    connection = ledger.table[client.fileno()]
    context = ssl.create_default_context()
    context.check_hostname = False
    wrapped = context.wrap_socket(client, do_handshake_on_connect=False)
    assert connection is not None
    assert ledger.table[wrapped.fileno()] is connection and connection.sock() is wrapped
    wrapped.setblocking(False)
    with pytest.raises(ssl.SSLError):
        wrapped.send(b"before the handshake")
    assert connection.opaque
    wrapped.close()
    assert connection.died is not None and len(ledger) == 0


def test_descriptors_are_reused(pair: tuple[socket.socket, socket.socket, Ledger]) -> None:
    client, _, ledger = pair
    fd = client.fileno()
    connection = ledger.table[fd]
    client.close()
    assert fd not in ledger.table and connection is not None and connection.died
    left, right = socket.socketpair()
    with left, right:
        left.send(b"x")
        assert ledger.table[left.fileno()] is None


def test_collected_sockets_are_not_open(
    pair: tuple[socket.socket, socket.socket, Ledger],
) -> None:
    client, _, ledger = pair
    assert [row.backend for row in ledger.census()] == ["db"]
    duplicate = socket.socket(fileno=os.dup(client.fileno()))
    duplicate.send(b"x")
    assert len(ledger.census()) == 2
    with pytest.warns(ResourceWarning):
        del duplicate
        gc.collect()
    assert len(ledger.census()) == 1


def test_asyncio_counts_once_and_notes_refusals(patches: Patches) -> None:
    ledger = patches._ledger
    patches.install()
    request = Request("r", "GET", 0.0)

    async def main() -> None:
        current.set(request)

        swallowed = asyncio.Event()

        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            swallowed.set()

        server = await asyncio.start_server(swallow, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        ledger.watch(0, [Proxied("db", *address)])
        _, writer = await asyncio.open_connection(*address)
        (connection,) = ledger._open.values()
        writer.write(b"one")
        writer.writelines([b"two", b"three"])
        writer.write(b"x" * 5_000_000)
        assert connection.sent == 5_000_011 and connection.transported
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert not connection.opaque
        await swallowed.wait()
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)

    asyncio.run(main())
    assert (ledger.refusals[-1].backend, ledger.refusals[-1].request) == ("db", request)
    assert request.refused == {"db": 1}


GEVENT = """
import sys
{monkey}
import gevent.socket, socket
from seism_middleware.contract import Proxied
from seism_middleware.ledger import Ledger
from seism_middleware.tcp import written
from seism_middleware.patches import Patches
from seism_middleware.traffic import Request, current

ledger = Ledger()
patches = Patches(ledger)
listener = gevent.socket.create_server(('127.0.0.1', 0))
ledger.watch(0, [Proxied('db', *listener.getsockname())])
before = dict(gevent.socket.socket.__dict__), dict(socket.socket.__dict__)
patches.install()
request = Request('r', 'GET', 0.0)
current.set(request)
for module in (gevent.socket, socket):
    client = module.create_connection(listener.getsockname())
    server, _ = listener.accept()
    reader = gevent.spawn(lambda: [iter(lambda: server.recv(65536), b'') and 0] and
                          sum(map(len, iter(lambda: server.recv(65536), b''))))
    client.settimeout(20)
    if module is socket and not {monkeyed}:
        client.sendall(b'x' * 10)
    else:
        client.sendall(b'x' * 3_000_000)
    connection = ledger.table[client.fileno()]
    assert connection.sent == written(client), (connection.sent, written(client))
    assert not connection.opaque
    assert {{c.request for c in connection.claims}} == {{request}}
    client.close()
    assert connection.died and len(ledger) == 0
    reader.join()
listener.close()
patches.uninstall()
assert before == (dict(gevent.socket.socket.__dict__), dict(socket.socket.__dict__))
"""


@pytest.mark.parametrize("monkey", ["from gevent import monkey; monkey.patch_all()", ""])
def test_gevent(monkey: str) -> None:
    code = GEVENT.format(monkey=monkey, monkeyed=bool(monkey)).replace(
        "import gevent.socket, socket", "import gevent, gevent.socket, socket"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


CPYTHON = """
import sys, unittest, asyncio, ssl
from seism_middleware.contract import Proxied
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches

class Everything(Ledger):
    def backend_of(self, address):
        return 'any' if type(address) is tuple and len(address) > 1 else None

patches = Patches(Everything())
if sys.argv[1] == 'patched':
    patches.install()
suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[2:])
result = unittest.TextTestRunner(stream=open('/dev/null', 'w')).run(suite)
failed = sorted(str(test) for test, _ in result.failures + result.errors)
print(result.testsRun, len(result.skipped), failed)
"""
SUITES = [
    "test.test_socket.BasicTCPTest",
    "test.test_socket.NonBlockingTCPTests",
    "test.test_socket.SendmsgTCPTest",
    "test.test_asyncio.test_streams",
]


def test_cpythons_own_tests_see_no_difference() -> None:
    """With every connection taken for a proxied one, so that the long path is run."""
    pytest.importorskip("test.test_socket", reason="this Python comes without its tests")
    results = {
        how: subprocess.run(
            [sys.executable, "-c", CPYTHON, how, *SUITES],
            capture_output=True,
            text=True,
            timeout=100,
        )
        for how in ("plain", "patched")
    }
    assert int(results["plain"].stdout.split()[0]) > 50, results["plain"].stderr
    assert results["patched"].stdout == results["plain"].stdout
