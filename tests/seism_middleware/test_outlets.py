"""What the app itself can show of a perturbation: log records, a header, spans."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from seism_middleware import observer, signals
from seism_middleware.asgi import SeismASGI
from seism_middleware.contract import (
    PERTURBATION_HEADER,
    Attribution,
    Hello,
    PerturbationBegan,
    Proxied,
    Proxies,
)
from seism_middleware.hits import HITS, MAX_ATTRIBUTIONS, MAX_REQUESTS, HitIndex
from seism_middleware.log_filter import SeismFilter
from seism_middleware.paste import filter_app_factory
from seism_middleware.tcp import address_text
from seism_middleware.wsgi import SeismWSGI
from tests.seism_middleware.peer import Peer, eventually
from tests.seism_middleware.test_wsgi import call, sized


class Scene:
    """An app that uses a backend and is perturbed while it does, by a real stream."""

    def __init__(self, peer: Peer, backend: socket.socket) -> None:
        self.peer = peer
        self.address = backend.getsockname()
        self.got: list[Attribution] = []
        signals.attribution_made.connect(self._attributed)
        self.within: Any = lambda: None

    def _attributed(self, sender: Any, record: Attribution) -> None:
        self.got.append(record)

    def use(self) -> None:
        """Send to the backend, and wait until that was perturbed and attributed."""
        with socket.create_connection(self.address) as sock:
            sock.sendall(b"hello")
            seen = len(self.got)
            self.peer.tell(
                PerturbationBegan(
                    f"p{len(self.got) + 1}", "db", "t", "latency", time.monotonic(), "upstream",
                    address_text(sock.getsockname()), address_text(self.address), "", 0,
                )
            )  # fmt: skip
            eventually(lambda: len(self.got) > seen, "attributed")
            self.within()

    def app(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/use":
            self.use()
        return sized(b"x")(environ, start_response)

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/use":
            self.use()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    def ready(self) -> None:
        """The stream is open, and the worker knows of the proxy."""
        self.peer.wait(Hello)
        self.peer.tell(Proxies((Proxied("db", *self.address),)))
        eventually(lambda: observer.LEDGER.backend_of(self.address), "the proxies are known")


@pytest.fixture
def scene(peer: Peer) -> Iterator[Scene]:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        yield Scene(peer, backend)


def header(headers: list[tuple[str, str]]) -> list[str]:
    return [value for name, value in headers if name == PERTURBATION_HEADER]


def test_a_header_says_what_hit_the_request(peer: Peer, scene: Scene) -> None:
    shows = SeismWSGI(scene.app, sidecar=peer.address, perturbation_header=True)
    hides = SeismWSGI(scene.app, sidecar=peer.address)

    def headers(app: Any, path: str) -> list[str]:
        seen: list[list[tuple[str, str]]] = []
        environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path}
        list(app(environ, lambda status, headers, exc_info=None: seen.append(headers)))
        return header(seen[0])

    assert headers(shows, "/") == []
    scene.ready()
    assert headers(shows, "/use") == ["p1"]
    assert headers(shows, "/") == []
    assert headers(hides, "/use") == []


def test_a_header_of_an_asgi_app(peer: Peer, scene: Scene) -> None:
    app = SeismASGI(scene.asgi, sidecar=peer.address, perturbation_header=True)

    def headers(path: str) -> Any:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request"}

        scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        asyncio.run(app(scope, receive, send))
        return sent[0]["headers"]

    assert headers("/") == []
    scene.ready()
    assert headers("/use") == [(b"seism-perturbation", b"p1")]


def test_paste_switches_the_header() -> None:
    def shows(**options: str) -> bool:
        return filter_app_factory(sized(b"x"), {}, **options)._lazy.settings.perturbation_header

    assert shows(perturbation_header="true") is True
    assert shows(perturbation_header=" Off ") is False
    assert shows() is False
    with pytest.raises(ValueError, match="perturbation_header is true or false, not 'perhaps'"):
        shows(perturbation_header="perhaps")


def test_log_records_name_the_request_and_the_perturbation(peer: Peer, scene: Scene) -> None:
    records: list[Any] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Handler()
    handler.addFilter(SeismFilter())
    logger = logging.getLogger("app.of.the.test")
    logger.addHandler(handler)
    try:
        app = SeismWSGI(scene.app, sidecar=peer.address)
        call(app)
        scene.ready()
        logger.error("outside")
        scene.within = lambda: logger.error("hit")
        call(app, PATH_INFO="/use")
        call(app)
        logger.error("later")
    finally:
        logger.removeHandler(handler)
    outside, hit, later = records
    assert (outside.seism_request, outside.seism_perturbation) == ("", "")
    assert hit.seism_request == scene.got[0].request and hit.seism_perturbation == "p1"
    assert (later.seism_request, later.seism_perturbation) == ("", "")


@contextmanager
def spans() -> Iterator[tuple[Any, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    try:
        yield provider.get_tracer("test"), exporter
    finally:
        provider.shutdown()


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_a_span_has_an_event_for_what_hit_its_request(where: str, peer: Peer, scene: Scene) -> None:
    """Whether the instrumentation is around the observer or within it."""
    with spans() as (tracer, exporter):

        def traced(app: Any) -> Any:
            def inner(environ: Any, start_response: Any) -> Any:
                with tracer.start_as_current_span("GET"):
                    return app(environ, start_response)

            return inner

        if where == "inside":
            app: Any = SeismWSGI(traced(scene.app), sidecar=peer.address)
        else:
            observed = SeismWSGI(scene.app, sidecar=peer.address)

            def app(environ: Any, start_response: Any) -> Any:
                with tracer.start_as_current_span("GET"):
                    return list(observed(environ, start_response))

        call(app)
        scene.ready()
        call(app, PATH_INFO="/use")
        first, second = exporter.get_finished_spans()
    assert first.events == () and first.attributes["seism.request"].endswith("-1")
    (event,) = second.events
    assert event.name == "seism.perturbation"
    assert dict(event.attributes) == {
        "seism.perturbation": "p1",
        "seism.request": scene.got[0].request,
        "seism.role": "hit",
        "seism.evidence": "ledger",
        "seism.exact": True,
    }
    assert second.attributes["seism.request"] == scene.got[0].request


def test_without_a_span_nothing_happens(peer: Peer, scene: Scene) -> None:
    app = SeismWSGI(scene.app, sidecar=peer.address)
    call(app)
    scene.ready()
    assert not trace.get_current_span().is_recording()
    call(app, PATH_INFO="/use")
    (found,) = observer._observers.values()
    assert found._telemetry is not None
    assert found._telemetry._spans == found._telemetry._early == {}


def test_opentelemetry_is_never_imported_by_us(peer: Peer) -> None:
    code = (
        "import sys\n"
        "from seism_middleware.log_filter import SeismFilter\n"
        "from seism_middleware.wsgi import SeismWSGI\n"
        "app = SeismWSGI(lambda e, s: s('200 OK', []) and [b'x'], sidecar=sys.argv[1])\n"
        "body = app({'REQUEST_METHOD': 'GET'}, lambda *a: print)\n"
        "list(body); hasattr(body, 'close') and body.close()\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, peer.address], check=True, timeout=60)


def test_what_is_remembered_is_bounded() -> None:
    hits = HitIndex()
    for number in range(MAX_REQUESTS + 100):
        hits._attributed(None, Attribution("p", f"r{number}", "ledger", True))
    assert len(hits._attributions) == MAX_REQUESTS
    for number in range(MAX_ATTRIBUTIONS + 10):
        hits._attributed(None, Attribution(f"p{number}", "r", "ledger", True))
    assert len(hits.of("r")) == MAX_ATTRIBUTIONS
    hits._attributed(None, Attribution("p", None, "ledger", True))
    assert HITS.of("r") == ()
