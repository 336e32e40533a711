"""A client of Valkey that comes back ``$RECOVER_S`` seconds after its backend.

Once a request has failed, all are refused. A thread of its own tries to connect each 5 ms, and
opens the client again that long after it could: ``$TRUTH`` has the time.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

import redis

from seism_middleware.wsgi import SeismWSGI

log = logging.getLogger("app")
HOST, _, PORT = os.environ["BACKEND"].rpartition(":")
SECONDS = float(os.environ["RECOVER_S"])
store = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=5, retry=None)
refusing = threading.Event()
broken = threading.Event()
never = threading.Event()


def watch() -> None:
    """Wait until somebody has failed and the backend answers, and then as long as is asked for."""
    while True:
        broken.wait()
        while True:
            try:
                with socket.create_connection((HOST, int(PORT)), 1) as sock:
                    sock.sendall(b"PING\r\n")
                    if sock.recv(7):
                        break
            except OSError:
                pass
            never.wait(0.005)
        never.wait(SECONDS)
        broken.clear()
        refusing.clear()
        with open(os.environ["TRUTH"], "a", encoding="utf-8") as file:
            file.write(f"{time.monotonic()}\n")


threading.Thread(target=watch, daemon=True).start()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain")]
    try:
        if refusing.is_set():
            raise redis.ConnectionError("the store is not back yet")
        store.get("a")
    except redis.RedisError:
        refusing.set()
        broken.set()
        log.exception("store")
        start_response("503 Service Unavailable", [*headers, ("Retry-After", "1")])
        return [b"later"]
    start_response("200 OK", headers)
    return [b"x"]


app = SeismWSGI(application)
