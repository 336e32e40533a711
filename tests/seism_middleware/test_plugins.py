"""The driver and the kind of evidence of docs/extending.md, from packages of their own.

Each is used by a worker with a real client library in C, over a proxy, to a real server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.outside import code, install
from tests.processes import ROOT, sidecar, until

WORKER = """
import socket, sys, time
from io import BytesIO
import pycurl
from seism_middleware import observer
from seism_middleware.wsgi import SeismWSGI

try:
    from your_package import claim
except ImportError:
    claim = None

def app(environ, start_response):
    curl, answer = pycurl.Curl(), BytesIO()
    curl.setopt(pycurl.URL, sys.argv[2])
    curl.setopt(pycurl.WRITEDATA, answer)
    if claim is not None:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        curl.setopt(pycurl.LOCALPORT, port)
        claim(port)
    curl.perform()
    curl.close()
    start_response('200 OK', [('Content-Length', '2')])
    return [answer.getvalue()]

app = SeismWSGI(app, sidecar=sys.argv[1])
for line in sys.stdin:
    print(b''.join(app({'REQUEST_METHOD': 'GET', 'PATH_INFO': '/'}, lambda *_: print)).decode(),
          flush=True)
"""


class Ok(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Ok) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield "{}:{}".format(*server.server_address)
        server.shutdown()
        thread.join()


def attributions(folder: Path, server: str) -> tuple[list[tuple[Any, ...]], str]:
    """``(evidence, exact)`` of what hit each of three requests, and the worker's log."""
    journal = folder / "journal.jsonl"
    with sidecar(journal) as control:
        made = control.call("POST", "/proxies", {"name": "web", "upstream": server})
        toxic = {"type": "latency", "stream": "upstream", "attributes": {"latency": 50}}
        address = f"{control.host}:{control.port}"
        command = [sys.executable, "-c", WORKER, address, f"http://{made['listen']}/"]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": f"{folder}:{ROOT}", "PATH": ""},
        ) as worker:
            assert worker.stdin is not None and worker.stdout is not None

            def ask() -> None:
                assert worker.stdin is not None and worker.stdout is not None
                worker.stdin.write("\n")
                worker.stdin.flush()
                assert worker.stdout.readline() == "ok\n"

            ask()
            until(lambda: control.call("GET", "/seism/workers")["workers"])
            control.add_toxic("web", toxic)
            for _ in range(3):
                ask()
            _, log = worker.communicate(timeout=30)
        records = [json.loads(line) for line in journal.read_text().splitlines()]
    found = [
        (each["request"].rpartition("-")[2], each["evidence"], each["exact"])
        for each in records
        if each["kind"] == "attribution"
    ]
    return found, log


@pytest.mark.parametrize(
    ("group", "marked", "evidence"),
    [("seism.drivers", "import sys", "driver"), ("seism.evidence", "PortEvidence", "port")],
)
def test_an_outside_package_knows_who_was_hit(
    group: str, marked: str, evidence: str, tmp_path: Path, server: str
) -> None:
    entry = code("extending.md", f'[project.entry-points."{group}"]')
    install(tmp_path, code("extending.md", marked), entry)
    found, log = attributions(tmp_path, server)
    assert found == [(str(number), evidence, True) for number in (2, 3, 4)], log


def test_without_it_nobody_knows_for_certain(tmp_path: Path, server: str) -> None:
    found, _ = attributions(tmp_path, server)
    assert not any(exact and evidence != "kernel" for _, evidence, exact in found)


BROKEN = """
def fails(*args):
    raise RuntimeError("of the plug-in's own")

def patches(spans):
    import pycurl
    yield pycurl, "Curl", fails

class Wrong:
    first = further = lambda self, case: fails()

def evidence(sources):
    return Wrong()
"""


@pytest.mark.parametrize(
    ("points", "named"),
    [
        ('[project.entry-points."seism.drivers"]\npycurl = "your_package:gone"\n', "pycurl"),
        ('[project.entry-points."seism.drivers"]\npycurl = "nowhere:gone"\n', "pycurl"),
        ('[project.entry-points."seism.drivers"]\npycurl = "your_package:fails"\n', "pycurl"),
        ('[project.entry-points."seism.drivers"]\npycurl = "your_package:patches"\n', "pycurl"),
        ('[project.entry-points."seism.evidence"]\nport = "your_package:gone"\n', "port"),
        ('[project.entry-points."seism.evidence"]\nport = "your_package:fails"\n', "port"),
        ('[project.entry-points."seism.evidence"]\nport = "your_package:evidence"\n', "port"),
        ('[project.entry-points."seism.evidence"]\nledger = "your_package:evidence"\n', "ledger"),
    ],
)
def test_one_that_fails_is_named_and_takes_nothing_down(
    points: str, named: str, tmp_path: Path, server: str
) -> None:
    install(tmp_path, BROKEN, points)
    _, log = attributions(tmp_path, server)
    lines = [line for line in log.splitlines() if "seism." in line and "left out" in line]
    assert len(lines) == 1 and named in lines[0], log


def test_nothing_is_looked_up_before_the_first_request() -> None:
    script = (
        "import sys, seism_middleware.wsgi, seism_middleware.asgi;"
        "assert 'importlib.metadata' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
