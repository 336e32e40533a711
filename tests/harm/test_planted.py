"""Bugs of the known kinds in clients made by hand, and their repaired twins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from seism.verdict.result import RED, Judgement
from tests.harm.lab import (
    BY_LOOP,
    LOAD,
    LOOPS,
    STREAMS,
    WSGI,
    Lab,
    accused,
    blamed,
    named,
    wrong,
)
from tests.servers import Valkey

pytestmark = pytest.mark.timeout(240)

SLOW = 'name = "slow"\ntype = "latency"\nattributes = { latency = 700 }\nstream = "{}"'


class Echo(BaseHTTPRequestHandler):
    """Answers with the path that was asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.path[1:]
        # In one piece: the second of two would wait for the first one's acknowledgement.
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write((head + body).encode())

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with Valkey() as server:
        yield f"127.0.0.1:{server.port}"


def sync(folder: Path, http: str, mode: str, stream: str, load: str = LOAD) -> Judgement:
    lab = Lab(
        "sync_app", http, SLOW.replace("{}", stream), WSGI, env={"MODE": mode}, load=load,
        rules="recover_s = 10",
    )  # fmt: skip
    return lab.judge(folder)


def asynchronous(folder: Path, valkey: str, mode: str, stream: str, loop: str) -> Judgement:
    lab = Lab("async_app", valkey, SLOW.replace("{}", stream), LOOPS[loop], env={"MODE": mode})
    return lab.judge(folder)


# Where a reply and the one before it are read at once, what was taken is not certain: how many
# are is chance, so only the client that never reads two at once has a number to reach.
@pytest.mark.parametrize(("mode", "least"), [("reuse", 0.01), ("reuse-bytewise", 0.8)])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_connection_used_again_after_a_timeout(
    tmp_path: Path, http: str, stream: str, mode: str, least: float
) -> None:
    judgement = sync(tmp_path, http, mode, stream)
    truth, said = wrong(tmp_path), accused(judgement)
    assert truth
    assert said - truth == set()
    assert len(said) >= least * len(truth), truth - said
    assert named(judgement, "crosstalk")
    assert judgement.colour == RED


@pytest.mark.parametrize("mode", ["close", "drain"])
@pytest.mark.parametrize("stream", STREAMS)
def test_closed_or_drained(tmp_path: Path, http: str, stream: str, mode: str) -> None:
    judgement = sync(tmp_path, http, mode, stream)
    assert blamed(judgement) == []
    assert wrong(tmp_path) == set()


def test_a_pool_that_loses_its_places(tmp_path: Path, http: str) -> None:
    load = "workers = 4\nsteady = 20\nduring = 6\nafter = 3\npause_ms = 10\ntimeout_s = 2"
    judgement = sync(tmp_path, http, "starve", "upstream", load=load)
    assert judgement.colour == RED
    found = named(judgement, "hang") + named(judgement, "hang", exact=False)
    assert found
    assert all(harm.requests and harm.backend == "store" for harm in found)


@pytest.mark.parametrize(("stream", "loop"), BY_LOOP)
def test_a_pool_that_leaks_what_was_cancelled(
    tmp_path: Path, valkey: str, stream: str, loop: str
) -> None:
    judgement = asynchronous(tmp_path, valkey, "leak", stream, loop)
    found = named(judgement, "leaked")
    assert found
    assert {harm.colour for harm in found} == {RED}
    assert {harm.backend for harm in found} == {"store"}


@pytest.mark.parametrize("mode", ["discard", "multiplex"])
@pytest.mark.parametrize(("stream", "loop"), BY_LOOP)
def test_discarded_or_multiplexed(
    tmp_path: Path, valkey: str, stream: str, mode: str, loop: str
) -> None:
    judgement = asynchronous(tmp_path, valkey, mode, stream, loop)
    assert blamed(judgement) == []
    assert wrong(tmp_path) == set()
