"""The app of a cell: each request sends its own id to the backend through one client.

``CLIENT`` and ``BACKEND`` (host:port) are in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from seism_middleware.asgi import SeismASGI
from seism_middleware.contract import ENVIRON_REQUEST
from seism_middleware.wsgi import SeismWSGI
from tests.matrix.clients import ASYNC, SYNC, failed_to_connect, in_thread

HOST, _, PORT = os.environ["BACKEND"].rpartition(":")
CLIENT = os.environ["CLIENT"]

call: Any = (SYNC.get(CLIENT) or ASYNC[CLIENT])(HOST, int(PORT))


def status_of(error: Exception) -> int:
    """502 if it could not connect, 503 for any other failure."""
    return 502 if failed_to_connect(error) else 503


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    key = environ[ENVIRON_REQUEST]
    try:
        call(f"<{key}>")
        status = "200 OK"
    except Exception as error:
        status = f"{status_of(error)} Failed"
        print(f"{key}: {error!r:.300}", flush=True)
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(key)))])
    return [key.encode()]


acall = in_thread(call) if CLIENT in SYNC else call


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    key = scope[ENVIRON_REQUEST]
    try:
        await acall(f"<{key}>")
        status = 200
    except Exception as error:
        status = status_of(error)
        print(f"{key}: {error!r:.300}", flush=True)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(key))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": key.encode()})


app = SeismWSGI(application)
async_app = SeismASGI(asgi)
