"""A worker that is killed: what its clients have seen is in the journal, the rest is known."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from contextlib import closing
from pathlib import Path

import pytest

from seism.client import Control
from seism.demo.backends import Backends
from seism.journal import DIED, WorkerLeft, read
from seism_middleware.contract import RequestBegun, RequestEnded
from tests.processes import app, settled, sidecar, until


def worker_in_flight(control: Control) -> int:
    (worker,) = control.call("GET", "/seism/workers")["workers"]
    return int(worker["in_flight"])


@pytest.mark.parametrize(("kind", "client"), [("wsgi", "redis"), ("asgi", "redis-asyncio")])
def test_sigkill_in_mid_request(kind: str, client: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    received: list[str] = []
    slow: list[str] = []
    cut = 0
    lock = threading.Lock()

    def worker(port: int, path: str, seen: list[str]) -> None:
        nonlocal cut
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            while True:
                try:
                    connection.request("GET", path)
                    with connection.getresponse() as response:
                        body = response.read()
                except (OSError, http.client.HTTPException):
                    with lock:
                        cut += 1
                    return
                with lock:
                    received.append(body.decode())
                    seen.append(body.decode())

    with Backends() as backends, sidecar(journal) as control:
        proxy = control.call(
            "POST", "/proxies", {"name": "cache", "upstream": backends.addresses["cache"]}
        )
        environ = {"CLIENT": client, "BACKEND": proxy["listen"]}
        with app(kind, f"tests.truth.{kind}_app", control, **environ) as (port, pid):
            # Half of the clients go on at full speed until the moment of death; the others'
            # requests wait for a slow backend then.
            clients = [("/", slow), ("/idle", [])] * 8
            threads = [threading.Thread(target=worker, args=(port, *each)) for each in clients]
            for thread in threads:
                thread.start()
            until(lambda: len(slow) > 50 and len(received) > 200)
            control.add_toxic(
                "cache",
                {"type": "latency", "stream": "upstream", "attributes": {"latency": 4000}},
            )
            settled(lambda: len(slow))
            assert worker_in_flight(control) >= 8
            os.kill(pid, signal.SIGKILL)
            for thread in threads:
                thread.join(30)
            until(lambda: not control.call("GET", "/seism/workers")["workers"])
    begun: set[str] = set()
    ended: dict[str, RequestEnded] = {}
    left: list[WorkerLeft] = []
    for entry in read(journal):
        if isinstance(entry.record, RequestBegun):
            begun.add(entry.record.request)
        elif isinstance(entry.record, RequestEnded):
            ended[entry.record.request] = entry.record
        elif isinstance(entry.record, WorkerLeft):
            left.append(entry.record)
    assert len(received) > 200
    assert cut > 0
    lost = [key for key in received if key not in ended or ended[key].status is None]
    assert not lost
    unanswered = {key for key in begun if ended[key].body == "none"}
    assert begun == ended.keys()
    assert len(unanswered) >= 8
    assert unanswered.isdisjoint(received)
    (record,) = left
    assert (record.orderly, record.unanswered) == (False, len(unanswered))
    assert record.reason == DIED
