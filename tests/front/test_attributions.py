"""Which request was hit, as it is known from in front of the app."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seism_middleware.contract import PerturbationBegan, RequestEnded
from tests.front.conftest import Front, front, node
from tests.processes import until

RELAY = Path(__file__).parent / "relay.js"
REQUESTS = 200
AT_ONCE = 16


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "400")
        self.end_headers()
        self.wfile.write(400 * b"x")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def backend() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def relay(folder: Path, backend: str, **env: str) -> Iterator[Front]:
    """The app behind a front, on the backend behind a proxy that knows HTTP."""
    (folder / "seism.toml").write_text(
        f'seed = 3\n[[backend]]\nname = "shop"\nupstream = "{backend}"\nprotocol = "http"\n'
    )
    # The front comes first, as its sidecar has the proxy that the app needs.
    with front(folder, "http://127.0.0.1:1", str(folder / "seism.toml")) as running:
        shop = running.control.proxies()["shop"]["listen"]
        with node(RELAY, BACKEND=f"http://{shop}", **env) as port:
            place = {"upstream": f"127.0.0.1:{port}"}
            running.control.call("POST", "/proxies/front", place)
            yield running


def ask(running: Front, number: int) -> int | None:
    """The status that the client got, None without a whole response."""
    with running.client() as client:
        try:
            client.request("GET", f"/items/{number}")
            response = client.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            return None
        return response.status


def load(running: Front, ask: Callable[[Front, int], int | None] = ask) -> list[int | None]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(pool.map(lambda number: ask(running, number), range(REQUESTS)))
    until(lambda: len(running.records(RequestEnded)) >= REQUESTS)
    return statuses


def add(running: Front, proxy: str, type: str, toxicity: float, **attributes: int) -> None:
    running.control.add_toxic(
        proxy, {"type": type, "toxicity": toxicity, "stream": "downstream",
                "attributes": attributes},
    )  # fmt: skip


def test_a_trace_that_is_handed_on_is_exact(tmp_path: Path, backend: str) -> None:
    """16 at once over 4 kept connections: whoever was hit, and nobody else, has the 502."""
    with relay(tmp_path, backend, FORWARD="1") as running:
        add(running, "shop", "exchange_reset", 0.3)
        statuses = load(running)
        ended = {record.request: record for record in running.records(RequestEnded)}
        attributions = running.attributions()
        began = {r.perturbation for r in running.records(PerturbationBegan) if r.proxy == "shop"}
    exact = {attribution.request for attribution in attributions if attribution.exact}
    failed = {request for request, record in ended.items() if record.status == 502}
    assert exact == failed and len(failed) == statuses.count(502) > REQUESTS // 10
    assert {attribution.evidence for attribution in attributions} == {"trace"}
    assert {attribution.perturbation for attribution in attributions} == began


def test_without_it_everyone_who_ran_is_possible(tmp_path: Path, backend: str) -> None:
    with relay(tmp_path, backend) as running:
        add(running, "shop", "exchange_reset", 0.3)
        load(running)
        failed = {r.request for r in running.records(RequestEnded) if r.status == 502}
        attributions = running.attributions()
    assert {(attribution.evidence, attribution.exact) for attribution in attributions} == {
        ("overlap", False)
    }
    assert failed and failed <= {attribution.request for attribution in attributions}


def test_a_client_s_line_is_linked_exactly(tmp_path: Path, backend: str) -> None:
    """Half of a response: what the app did not get rid of is the line's fault, and known as it."""
    with relay(tmp_path, backend) as running:
        add(running, "front", "http_truncated", 0.3)
        statuses = load(running)
        ended = {record.request: record for record in running.records(RequestEnded)}
        attributions = running.attributions()
    cut = statuses.count(None)
    assert cut > REQUESTS // 10
    assert {(attribution.evidence, attribution.exact) for attribution in attributions} == {
        ("ledger", True)
    }
    assert len({attribution.request for attribution in attributions}) == len(attributions) == cut
    hit = {attribution.request for attribution in attributions}
    assert {record.status for record in ended.values()} == {200}
    assert {key for key, record in ended.items() if record.body != "complete"} <= hit
