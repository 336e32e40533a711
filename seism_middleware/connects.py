"""Where connects go, and those of event loops that fail: the caller learns of it as it waits."""

from __future__ import annotations

import sys
import time
from typing import Any

from seism_middleware.guard import shielded
from seism_middleware.ledger import Ledger


def destination(sock: Any, address: Any) -> Any:
    """Where a connect of ``sock`` to ``address`` goes: elsewhere under ``--redirect``."""
    redirect = sys.modules.get("seism_redirect")
    return address if redirect is None else redirect.redirected(sock, address)


def moved(host: str, port: int) -> tuple[str, int]:
    """Where a connect to ``host`` and ``port`` goes that is none of Python's sockets."""
    redirect = sys.modules.get("seism_redirect")
    there: tuple[str, int] = (host, port) if redirect is None else redirect.moved(host, port)
    return there


def sock_connect(original: Any, fileno: Any, ledger: Ledger) -> Any:
    """``loop.sock_connect``, which reports a failed connect in the context of its caller."""

    @shielded
    def refused(sock: Any, address: Any, since: float) -> None:
        backend = ledger.backend_of(destination(sock, address))
        if backend is not None:
            ledger.refused(backend, since)

    async def sock_connect(self: Any, sock: Any, address: Any) -> Any:
        since = time.monotonic()
        try:
            return await original(self, sock, address)
        except OSError:
            refused(sock, address, since)
            raise

    return sock_connect
