"""What the observer keeps has bounds, and does not grow with the requests."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from bench.middleware import BODY, HEADERS, memory
from seism_middleware import observer
from seism_middleware.contract import Proxied
from seism_middleware.ledger import MAX_HISTORY
from seism_middleware.route import MAX_ROUTES
from seism_middleware.stream import BACKLOG
from seism_middleware.traffic import MAX_CLAIMS
from seism_middleware.wsgi import SeismWSGI
from tests.processes import sidecar

CALLS = 50_000
GROWTH = 1_000_000
"""Bytes in the second half: a leak of 40 bytes a request would be seen."""


def test_memory_is_flat(tmp_path: Path) -> None:
    """50,000 requests, each with a path of its own, every tenth with a send to a backend."""
    with socket.create_server(("127.0.0.1", 0)) as backend, sidecar(tmp_path / "j") as control:
        address = backend.getsockname()
        near = socket.socket()
        far: list[socket.socket] = []
        count = 0

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            if count % 10 == 0:
                near.send(b"x")
                far[0].recv(64)
            start_response("200 OK", HEADERS)
            return [BODY]

        observed = SeismWSGI(app, sidecar=f"{control.host}:{control.port}")

        def asked(environ: dict[str, Any], start_response: Any) -> Any:
            nonlocal count
            count += 1
            environ["PATH_INFO"] = f"/never-twice-{count}/{count}"
            return observed(environ, start_response)

        ledger = observer.LEDGER
        ledger.watch(1, (Proxied("db", *address),))
        memory(asked, 1, 1)  # patches
        try:
            near.connect(address)
            far.append(backend.accept()[0])
            seen = memory(asked, CALLS)
            assert seen[-1] - seen[len(seen) // 2] < GROWTH, seen
            found = observed._lazy.get("wsgi")
            assert found is not None
            stream, ring = found.stream, found.stream._ring
            assert ring is not None and ring.size <= 256 * 1024
            assert len(stream._backlog) <= BACKLOG + 1  # and the count of what was dropped
            assert found.in_flight == 0
            assert len(found.routes._names) <= MAX_ROUTES
            (connection,) = ledger._open.values()
            assert len(connection.claims) == MAX_CLAIMS
            assert len(ledger._closed) <= MAX_HISTORY
        finally:
            ledger.watch(1, ())
            for sock in (near, *far):
                sock.close()
