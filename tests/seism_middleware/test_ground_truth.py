"""The ledger against what a forwarder received: each request's id is in its payload."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import redis
import redis.asyncio

from seism_middleware.contract import DOWNSTREAM, UPSTREAM, Attribution, PerturbationBegan, Proxied
from seism_middleware.correlate import Correlator
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.traffic import Request, current
from tests.seism_middleware.forwarder import Forwarder
from tests.servers import Valkey

REQUESTS = 600
AT_ONCE = 16
IDENTIFIER = re.compile(rb"<(r\d+)>")


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture
def forwarder(valkey: Valkey) -> Iterator[Forwarder]:
    forwarder = Forwarder(("127.0.0.1", valkey.port))
    yield forwarder
    forwarder.close()


@pytest.fixture
def ledger(forwarder: Forwarder) -> Iterator[Ledger]:
    ledger = Ledger()
    ledger.watch(0, [Proxied("cache", "127.0.0.1", forwarder.port)])
    patches = Patches(ledger)
    patches.install()
    yield ledger
    patches.uninstall()


def requests() -> list[Request]:
    return [Request(f"r{number}", "GET", 0.0) for number in range(REQUESTS)]


def began(offset: int, client: str, forwarder: Forwarder, stream: str, since: Any) -> Any:
    return PerturbationBegan(
        perturbation=f"{client}/{stream}/{offset}",
        proxy="cache",
        toxic="t",
        type="latency",
        at=time.monotonic(),
        stream=stream,
        client=client,
        listen=f"127.0.0.1:{forwarder.port}",
        offset=offset,
        since=since,
    )


def judge(ledger: Ledger, forwarder: Forwarder, shared: bool) -> None:
    """Ask for every identifier that was received; all answers exact, none wrong."""
    asked = replies = 0
    sends: Counter[tuple[str, str]] = Counter()
    correlator = Correlator(ledger, lambda attribution: None)
    for client, sent in forwarder.sent.items():
        truth = [(m.start(), m[1].decode()) for m in IDENTIFIER.finditer(bytes(sent))]
        for offset, request in truth:
            asked += 1
            attributions = correlator.resolve(began(offset, client, forwarder, UPSTREAM, None))
            assert [replace(attribution, send=0) for attribution in attributions] == [
                Attribution(f"{client}/upstream/{offset}", request, "ledger", True, "hit", "bytes")
            ]
            sends[client, request] += 1
            assert attributions[0].send >= sends[client, request]
        for since, offset in [] if shared else forwarder.replies[client]:
            waiting = {request for at, request in truth if since <= at < offset}
            if len(waiting) == 1:
                replies += 1
                attributions = correlator.resolve(
                    began(offset, client, forwarder, DOWNSTREAM, since)
                )
                assert {attribution.request for attribution in attributions} == waiting
                assert attributions[0].exact and attributions[0].evidence == "ledger"
    correlator.close()
    assert asked == REQUESTS
    assert shared or replies == REQUESTS


def work(client: Any, request: Request) -> None:
    token = current.set(request)
    try:
        assert client.echo(f"<{request.id}>") == f"<{request.id}>".encode()
    finally:
        current.reset(token)


def test_threads_with_a_pool(ledger: Ledger, forwarder: Forwarder) -> None:
    with redis.Redis(port=forwarder.port, max_connections=8) as warm:
        warm.ping()
    pool = redis.BlockingConnectionPool(port=forwarder.port, max_connections=8, timeout=30)
    with redis.Redis(connection_pool=pool) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda request: work(client, request), requests()))
        judge(ledger, forwarder, shared=False)
        assert all(c.opaque is False for c in ledger._open.values())
    pool.disconnect()


async def through_asyncio(port: int, connections: int) -> None:
    pool = redis.asyncio.BlockingConnectionPool(port=port, max_connections=connections, timeout=30)
    client = redis.asyncio.Redis(connection_pool=pool)
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(request: Request) -> None:
        async with slots:
            current.set(request)
            assert await client.echo(f"<{request.id}>") == f"<{request.id}>".encode()

    await asyncio.gather(*(one(request) for request in requests()))
    await client.aclose()
    await pool.disconnect()


def test_asyncio_with_a_pool(ledger: Ledger, forwarder: Forwarder) -> None:
    asyncio.run(through_asyncio(forwarder.port, 8))
    judge(ledger, forwarder, shared=False)


async def multiplexed(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def one(request: Request) -> None:
        current.set(request)
        await asyncio.sleep(0)
        text = f"<{request.id}>"
        writer.write(b"*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n" % (len(text), text.encode()))
        await writer.drain()

    await asyncio.gather(*(one(request) for request in requests()))
    for _ in range(2 * REQUESTS):
        await reader.readline()
    writer.close()
    await writer.wait_closed()


def test_one_connection_shared_by_all(ledger: Ledger, forwarder: Forwarder) -> None:
    asyncio.run(multiplexed(forwarder.port))
    judge(ledger, forwarder, shared=True)
    (connection,) = ledger._closed
    assert connection.shared


def test_opened_before_the_ledger_was(valkey: Valkey, forwarder: Forwarder) -> None:
    """A pool that is older than the patches: adopted, its offsets start at the kernel's."""
    with redis.Redis(port=forwarder.port, single_connection_client=True) as client:
        client.ping()
        ledger = Ledger()
        ledger.watch(0, [Proxied("cache", "127.0.0.1", forwarder.port)])
        patches = Patches(ledger)
        patches.install()
        try:
            for request in requests():
                work(client, request)
        finally:
            patches.uninstall()
        judge(ledger, forwarder, shared=False)


def test_the_judge_can_fail(ledger: Ledger, forwarder: Forwarder) -> None:
    """The same with the ids on the wire shuffled: it must be seen to be wrong."""
    with redis.Redis(port=forwarder.port, single_connection_client=True) as client:
        everyone = requests()
        for request, other in zip(everyone, everyone[1:] + everyone[:1], strict=True):
            token = current.set(request)
            client.echo(f"<{other.id}>")
            current.reset(token)
        with pytest.raises(AssertionError):
            judge(ledger, forwarder, shared=False)
