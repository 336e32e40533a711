"""A worker's very first request: it runs before the worker has been told of the proxies."""

from __future__ import annotations

import http.client
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from seism.journal import read
from seism_middleware.contract import Link, RequestEnded
from tests.processes import app, settled, sidecar
from tests.servers import Valkey


@pytest.mark.parametrize(("client", "kind"), [("redis", "wsgi"), ("redis-asyncio", "asgi")])
def test_it_is_linked(client: str, kind: str, tmp_path: Path) -> None:
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
    links = [each for each in records if isinstance(each, Link)]
    assert links
    assert {(link.request, link.exact, link.evidence) for link in links} == {
        (ended.request, True, "ledger")
    }
    # All of it was seen, what was sent before the worker knew of the proxy as well.
    assert [each.sent for each in ended.exchanges] == [living["upstream"]["received"]]
