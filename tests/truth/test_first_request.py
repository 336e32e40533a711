"""A worker's very first request: it runs before the worker has been told of the proxies."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from seism.client import Control
from seism.journal import read
from seism_middleware.contract import SIDECAR_VARIABLE, Attribution, PerturbationEnded, RequestEnded
from tests.processes import app, settled, sidecar
from tests.servers import Valkey


@pytest.mark.parametrize(("client", "kind"), [("redis", "wsgi"), ("redis-asyncio", "asgi")])
def test_it_is_attributed(client: str, kind: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with Valkey() as valkey, sidecar(journal) as control:
        wanted = {"name": "backend", "upstream": f"127.0.0.1:{valkey.port}"}
        proxy = control.call("POST", "/proxies", wanted)
        control.add_toxic(
            "backend", {"type": "latency", "stream": "upstream", "attributes": {"latency": 20}}
        )
        environ = {"CLIENT": client, "BACKEND": proxy["listen"]}
        with app(kind, f"tests.truth.{kind}_app", control, **environ) as (port, _):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                (serving,) = (
                    child
                    for child in psutil.Process().children()
                    if str(journal) in child.cmdline()
                )
                # Stopped, it lets the worker connect and send, and tells it nothing.
                serving.suspend()
                try:
                    connection.request("GET", "/")
                    time.sleep(0.3)
                finally:
                    serving.resume()
                assert connection.getresponse().status == 200
            settled(lambda: journal.stat().st_size)
            (living,) = control.call("GET", "/seism/connections")["connections"]
    records = [entry.record for entry in read(journal)]
    (ended,) = [each for each in records if isinstance(each, RequestEnded)]
    attributions = [each for each in records if isinstance(each, Attribution)]
    assert attributions
    assert {
        (attribution.request, attribution.exact, attribution.evidence)
        for attribution in attributions
    } == {(ended.request, True, "ledger")}
    # All of it was seen, what was sent before the worker knew of the proxy as well.
    assert [each.sent for each in ended.sends] == [living["upstream"]["received"]]


@contextmanager
def detour(control: Control, opened: threading.Event) -> Iterator[str]:
    """The address of a way to the sidecar that takes connections, and is ``opened`` later."""

    def relay(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def lead() -> None:
        near, _ = listener.accept()
        opened.wait(20)
        with near, socket.create_connection((control.host, control.port)) as far:
            back = threading.Thread(target=relay, args=(far, near))
            back.start()
            relay(near, far)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lead)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(("client", "kind"), [("redis", "wsgi"), ("redis-asyncio", "asgi")])
def test_a_perturbation_before_the_worker_has_joined(
    client: str, kind: str, tmp_path: Path
) -> None:
    """Begun and over before the worker's stream reaches the sidecar, as on a busy machine."""
    journal, opened = tmp_path / "journal.jsonl", threading.Event()
    with Valkey() as valkey, sidecar(journal) as control, detour(control, opened) as way:
        wanted = {"name": "backend", "upstream": f"127.0.0.1:{valkey.port}"}
        proxy = control.call("POST", "/proxies", wanted)
        toxic = {
            "name": "slow", "type": "latency", "stream": "upstream", "attributes": {"latency": 20},
        }  # fmt: skip
        environ = {"CLIENT": client, "BACKEND": proxy["listen"], SIDECAR_VARIABLE: way}
        with app(kind, f"tests.truth.{kind}_app", control, **environ) as (port, _):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                for armed in (False, True, False):
                    if armed:
                        control.add_toxic("backend", toxic)
                    connection.request("GET", "/")
                    with connection.getresponse() as response:
                        assert response.status == 200
                        response.read()
                    if armed:
                        control.remove_toxic("backend", "slow")
            assert control.call("GET", "/seism/workers")["workers"] == []
            opened.set()
            settled(lambda: journal.stat().st_size)
    records = [entry.record for entry in read(journal)]
    assert [each.outcome for each in records if isinstance(each, PerturbationEnded)]
    asked = [each.request for each in records if isinstance(each, RequestEnded)]
    attributions = {each for each in records if isinstance(each, Attribution)}
    assert {
        (attribution.request, attribution.exact, attribution.evidence)
        for attribution in attributions
    } == {(asked[1], True, "ledger")}
