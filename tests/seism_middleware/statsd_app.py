"""An app whose paths are statuses; ``/cache`` asks a Redis server, without any library."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Any

from seism_middleware.wsgi import SeismWSGI


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"].strip("/")
    if path == "cache":
        host, _, port = os.environ["CACHE"].rpartition(":")
        with socket.create_connection((host, int(port)), 10) as cache:
            cache.sendall(b"PING\r\n")
            path = "200" if cache.recv(100) == b"+PONG\r\n" else "503"
    body = b"" if path == "204" else b"ok"
    start_response(f"{path} Status", [("Content-Length", str(len(body)))] if body else [])
    return [body]


app = SeismWSGI(application, statsd=os.environ["STATSD"], statsd_prefix="shop.Web")
