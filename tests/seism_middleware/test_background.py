"""What ends outside of requests is told of, and the app sees it as it would without us."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from seism_middleware.background import Background, name_of
from seism_middleware.contract import TASK, THREAD, BackgroundEnded, Proxied, Running
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches

HERE = "tests.seism_middleware.test_background"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Patches, list[BackgroundEnded]]]:
    """Patches, and what their background tells."""
    patches, told = Patches(Ledger()), list[BackgroundEnded]()
    patches.background.listeners.append(told.append)
    yield patches, told
    patches.uninstall()


def consume(error: BaseException) -> None:
    raise error


def run(target: Any, *args: Any) -> None:
    thread = threading.Thread(target=target, args=args)
    thread.start()
    thread.join()


def test_a_thread(
    told: tuple[Patches, list[BackgroundEnded]], monkeypatch: pytest.MonkeyPatch
) -> None:
    patches, records = told
    own: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", own.append)
    patches.install()
    assert "threading.excepthook" in patches.names
    run(consume, OSError("a secret"))
    run(consume, SystemExit())
    assert [each.exc_type for each in own] == [OSError, SystemExit]
    (record,) = records
    assert (record.what, record.name, record.exception) == (THREAD, f"{HERE}.consume", "OSError")
    assert record.frames[-1].endswith(" consume")
    assert "secret" not in repr(record)
    patches.uninstall()
    assert threading.excepthook == own.append


def test_the_connection_that_an_exception_came_from(
    told: tuple[Patches, list[BackgroundEnded]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the error path has closed it, and the error was wrapped in another."""
    patches, records = told
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    ledger = patches._ledger

    class Client:
        def __init__(self, address: Any) -> None:
            self._sock: socket.socket | None = socket.create_connection(address)

        def ask(self) -> None:
            try:
                sock = self._sock
                assert sock is not None
                sock.sendall(b"?")
                if not sock.recv(1):
                    raise ConnectionError("it has closed the connection")
            finally:
                sock.close()
                self._sock = None

    def listen(address: Any) -> None:
        try:
            Client(address).ask()
        except ConnectionError as error:
            raise RuntimeError("no answer") from error

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        ledger.watch(0, [Proxied("db", *address)])
        patches.install()
        thread = threading.Thread(target=listen, args=(address,))
        thread.start()
        server, client = listener.accept()
        server.recv(1)
        server.close()
        thread.join()
    (record,) = records
    assert record.exception == "RuntimeError"
    assert record.connections == (f"{client[0]}:{client[1]}",)


@pytest.mark.parametrize("kept", [False, True])
def test_a_task_whose_exception_nobody_takes(
    told: tuple[Patches, list[BackgroundEnded]], kept: bool
) -> None:
    """A census finds those that are kept, for only a collected one is told of by asyncio."""
    patches, records = told
    patches.install()
    background = patches.background
    own: list[str] = []

    async def consume() -> None:
        raise OSError

    async def idle() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: own.append(context["message"]))
        task = asyncio.create_task(consume())
        waiting = asyncio.create_task(idle())
        taken = asyncio.create_task(consume())
        with pytest.raises(OSError):
            await taken
        name = f"{HERE}.test_a_task_whose_exception_nobody_takes.<locals>.idle"
        assert Running(TASK, name, 1) in background.running()
        if not kept:
            del task
            gc.collect()
        background.look()
        due = background.tick(0.0)
        assert (due is not None) == kept
        assert background.tick(1e9) is None
        background.look()
        assert background.tick(1e9) is None
        waiting.cancel()
        assert kept or own == ["Task exception was never retrieved"]
        if kept:
            assert isinstance(task.exception(), OSError)

    asyncio.run(main())
    (record,) = records
    name = f"{HERE}.test_a_task_whose_exception_nobody_takes.<locals>.consume"
    assert (record.what, record.name, record.exception) == (TASK, name, "OSError")


def test_threads_that_run_are_counted_by_their_functions() -> None:
    background, stop = Background(Ledger()), threading.Event()

    class Consumer(threading.Thread):
        def run(self) -> None:
            stop.wait()

    threads = [threading.Thread(target=stop.wait), Consumer(), Consumer()]
    for thread in threads:
        thread.start()
    found = background.running()
    stop.set()
    for thread in threads:
        thread.join()
    name = f"{HERE}.test_threads_that_run_are_counted_by_their_functions.<locals>.Consumer.run"
    assert Running(THREAD, name, 2) in found
    assert Running(THREAD, "...", 1) not in found


def test_names_hold_no_paths() -> None:
    code = compile("def f(): pass", "/somewhere/else/site-packages/redis/client.py", "exec")
    assert name_of(code.co_consts[0]) == "redis.client.f"
    code = compile("def f(): pass", "/somewhere/else/shop/__init__.py", "exec")
    assert name_of(code.co_consts[0]) == "__init__.f"


GEVENT = """
import gevent, sys
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches

told, own = [], []
gevent.hub.Hub.print_exception = lambda self, context, t, v, tb: own.append(t)
patches = Patches(Ledger())
patches.background.listeners.append(told.append)
patches.install()

def consume():
    raise OSError

gevent.joinall([gevent.spawn(consume)])
assert own == [OSError], own
(record,) = told
assert (record.what, record.name) == ("greenlet", "<string>.consume"), record
patches.uninstall()
"""


def test_a_greenlet() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GEVENT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


UVLOOP = """
import asyncio, gc, uvloop
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches

told, own = [], []
patches = Patches(Ledger())
patches.background.listeners.append(told.append)
patches.install()

async def consume():
    raise OSError

async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: own.append(context["message"]))
    asyncio.create_task(consume())
    await asyncio.sleep(0.01)
    gc.collect()

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
assert own == ["Task exception was never retrieved"], own
assert [record.name for record in told] == ["<string>.consume"], told
"""


def test_a_task_of_uvloop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UVLOOP], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
