"""Connects of event loops that fail: the loop notices in a callback, the caller where it waits."""

from __future__ import annotations

import time
from typing import Any

from seism_middleware.guard import shielded
from seism_middleware.ledger import Ledger


def sock_connect(original: Any, fileno: Any, ledger: Ledger) -> Any:
    """``loop.sock_connect``, which reports a failed connect in the context of its caller."""

    @shielded
    def refused(address: Any, since: float) -> None:
        backend = ledger.backend_of(address)
        if backend is not None:
            ledger.refused(backend, since)

    async def sock_connect(self: Any, sock: Any, address: Any) -> Any:
        since = time.monotonic()
        try:
            return await original(self, sock, address)
        except OSError:
            refused(address, since)
            raise

    return sock_connect
