"""Work on threads and greenlets is its request's, and nobody else's."""

from __future__ import annotations

import asyncio
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest
import redis

from seism_middleware import propagation
from seism_middleware.ledger import Ledger
from seism_middleware.patches import ALL, NONE, SOCKETS, Patches
from seism_middleware.traffic import Request, current
from tests.seism_middleware import test_ground_truth as truth
from tests.seism_middleware.forwarder import Forwarder

valkey, forwarder, ledger = truth.valkey, truth.forwarder, truth.ledger


@pytest.fixture
def patches() -> Iterator[Patches]:
    patches = Patches(Ledger())
    patches.install()
    yield patches
    patches.uninstall()


def within(request: Request, call: Callable[[], Any]) -> Any:
    token = current.set(request)
    try:
        return call()
    finally:
        current.reset(token)


def by_submit(ask: Callable[[Request], None]) -> None:
    with ThreadPoolExecutor(truth.AT_ONCE) as pool:
        found = [
            within(request, lambda request=request: pool.submit(ask, request))
            for request in truth.requests()
        ]
        for future in found:
            future.result()


def by_run_in_executor(ask: Callable[[Request], None]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def one(request: Request) -> None:
            current.set(request)
            await loop.run_in_executor(None, ask, request)

        await asyncio.gather(*(one(request) for request in truth.requests()))

    asyncio.run(main())


def by_thread(ask: Callable[[Request], None]) -> None:
    slots = threading.Semaphore(truth.AT_ONCE)

    def one(request: Request) -> None:
        with slots:
            ask(request)

    threads = []
    for request in truth.requests():
        threads.append(threading.Thread(target=one, args=(request,)))
        within(request, threads[-1].start)
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("move", [by_submit, by_run_in_executor, by_thread])
def test_every_byte_is_its_requests(
    move: Callable[[Callable[[Request], None]], None], ledger: Ledger, forwarder: Forwarder
) -> None:
    """600 requests, each in a thread that knows its request by what was moved only."""
    pool = redis.BlockingConnectionPool(port=forwarder.port, max_connections=8, timeout=30)
    with redis.Redis(connection_pool=pool) as client:

        def ask(request: Request) -> None:
            assert current.get() is request
            assert client.echo(f"<{request.id}>") == f"<{request.id}>".encode()

        move(ask)
        truth.judge(ledger, forwarder, shared=False)
    pool.disconnect()
    assert all(c.sure for found in ledger._closed for c in found.claims)


GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, gevent, gevent.pool, redis
from gevent.threadpool import ThreadPool
from seism_middleware.contract import Proxied
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.traffic import Request, current
from tests.seism_middleware import test_ground_truth as truth
from tests.seism_middleware.forwarder import Forwarder
from tests.servers import Valkey

def spawned(ask, request):
    return gevent.spawn(ask, request)

group, native = gevent.pool.Pool(16), ThreadPool(4)

def pooled(ask, request):
    return group.spawn(ask, request)

def late(ask, request):
    return gevent.spawn_later(0.001, ask, request)

with Valkey() as valkey:
    for move in (spawned, pooled, late):
        forwarder, ledger = Forwarder(("127.0.0.1", valkey.port)), Ledger()
        ledger.watch(0, [Proxied("cache", "127.0.0.1", forwarder.port)])
        patches = Patches(ledger)
        patches.install()
        assert "gevent.greenlet.Greenlet.add_spawn_callback" in patches.names, patches.names
        pool = redis.BlockingConnectionPool(port=forwarder.port, max_connections=8, timeout=30)
        client = redis.Redis(connection_pool=pool)

        def ask(request):
            assert current.get() is request
            assert client.echo(f"<{request.id}>") == f"<{request.id}>".encode()

        found = []
        for request in truth.requests():
            token = current.set(request)
            found.append(move(ask, request))
            current.reset(token)
        for greenlet in found:
            greenlet.get()
        truth.judge(ledger, forwarder, shared=False)
        known = Request("native", "GET", 0.0)
        token = current.set(known)
        assert native.spawn(current.get).get() is known
        current.reset(token)
        assert native.spawn(current.get).get() is None
        client.close(); pool.disconnect()
        patches.uninstall()
        token = current.set(known)
        assert gevent.spawn(current.get).get() is None
        current.reset(token)
        forwarder.close()
"""


def test_greenlets_in_a_process_of_gevents() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GEVENT], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_pools_threads_are_nobodys(patches: Patches) -> None:
    """Neither a submitted task nor the request that made a pool's thread stays on it."""
    first, second = (Request(name, "GET", time.monotonic()) for name in ("a", "b"))
    with ThreadPoolExecutor(1) as pool:
        assert within(first, lambda: pool.submit(current.get)).result() is first
        assert pool.submit(current.get).result() is None
        assert within(second, lambda: pool.submit(current.get)).result() is second
    with within(first, lambda: ThreadPool(1)) as old:
        assert old.apply(current.get) is None


def test_a_thread_that_takes_work_is_only_possibly_the_requests(patches: Patches) -> None:
    request = Request("a", "GET", time.monotonic())
    work: queue.Queue[Any] = queue.Queue()
    idle: queue.LifoQueue[int] = queue.LifoQueue()
    idle.put(1)
    doubts: list[Any] = []

    def worker() -> None:
        doubts.append((current.get(), propagation.doubtful.get()))
        idle.get()
        doubts.append((current.get(), propagation.doubtful.get()))
        work.get()
        doubts.append((current.get(), propagation.doubtful.get()))
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(lambda: (current.get(), propagation.doubtful.get())).result()
            doubts.append(found)

    thread = threading.Thread(target=worker)
    within(request, thread.start)
    work.put(None)
    thread.join()
    assert doubts == [(request, False), (request, False), (request, True), (request, True)]
    within(request, lambda: work.put(None) or work.get())
    assert propagation.doubtful.get() is None


def test_threads_of_no_request_and_of_one_that_is_over(patches: Patches) -> None:
    over = Request("over", "GET", 0.0)
    over.over = 1.0
    found: list[Any] = []
    for request in (None, over):
        thread = threading.Thread(target=lambda: found.append(current.get()))
        within(request, thread.start)  # type: ignore[arg-type]
        thread.join()
    assert found == [None, None]


def test_a_threads_own_run_is_put_back(patches: Patches, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request("a", "GET", time.monotonic())
    thread = threading.Thread(target=len)
    joinable = hasattr(threading, "_start_joinable_thread")  # Python 3.13
    name = "_start_joinable_thread" if joinable else "_start_new_thread"
    monkeypatch.setattr(threading, name, lambda *_, **__: 1 / 0)
    for own in (None, lambda: None):
        if own is not None:
            thread.run = own  # type: ignore[method-assign]
        with pytest.raises(ZeroDivisionError):
            within(request, thread.start)
        assert thread.__dict__.get("run") is own


@pytest.mark.parametrize(
    ("level", "sockets", "threads"),
    [(ALL, True, True), (SOCKETS, True, False), (NONE, False, False)],
)
def test_levels(level: str, sockets: bool, threads: bool) -> None:
    start = threading.Thread.start
    patches = Patches(Ledger())
    patches.install(level)
    try:
        assert ("socket.socket.send" in patches.names) is sockets
        assert ("threading.Thread.start" in patches.names) is threads
        pool = "concurrent.futures.thread.ThreadPoolExecutor.submit"
        assert (pool in patches.names) is threads
        patches.install(ALL)
        assert "threading.Thread.start" in patches.names
    finally:
        patches.uninstall()
    assert threading.Thread.start is start and patches.names == ()
