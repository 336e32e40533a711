"""A control server with proxies behind it, and a plain HTTP client."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seism.sidecar.control import toxiproxy
from seism.sidecar.control.openapi import document
from seism.sidecar.control.router import Router
from seism.sidecar.control.server import ControlServer
from tests.proxy.harness import PATIENCE, Backend, backend
from tests.sidecar.control.declared import Declared


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def warning(self) -> str:
        return self.headers.get("Warning", "")


class Control:
    """Calls the API of ``server``, and holds each answer against the OpenAPI document."""

    def __init__(self, server: ControlServer, behind: Backend, declared: Declared) -> None:
        self.server = server
        self.behind = behind
        self.declared = declared

    def __call__(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """``body``: bytes as they are, anything else as JSON, None for no body at all."""
        connection = http.client.HTTPConnection(*self.server.address, timeout=PATIENCE)
        with contextlib.closing(connection):
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        self.declared.check(method, path, answer.status, answer.headers, answer.body)
        return answer


@contextlib.contextmanager
def control(host: str = "127.0.0.1", **options: Any) -> Iterator[Control]:
    """The Toxiproxy API, with one proxy called ``backend``."""
    with backend() as behind:
        proxies = behind.proxies

        def start() -> ControlServer:
            server = ControlServer(host, 0, Router(rows), **options)
            server.start()
            return server

        rows = toxiproxy.routes(proxies.collection)
        declared = Declared(document(rows, proxies.collection.registry.toxics))
        server = proxies.thread.call(start)
        try:
            yield Control(server, behind, declared)
        finally:
            proxies.thread.call(server.close)
