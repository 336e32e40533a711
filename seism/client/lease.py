"""A lease that is kept up by a thread, as long as this process lives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from seism.errors import NotFound, SeismError

HEADER = "Seism-Lease"
RENEWALS = 4
"""How often a lease is renewed within its time."""


class Lease:
    """Renews ``name`` until ``end``; the thread keeps no process alive."""

    def __init__(self, call: Callable[[str, str], Any], name: str, seconds: float) -> None:
        """``call`` is ``Control.call``: a method and a path."""
        self.name = name
        self._call = call
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._renew, args=(seconds / RENEWALS,), name="seism-lease", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Stop renewing; ``Control.release`` gives the lease back as well."""
        self._stop.set()
        self._thread.join()

    def _renew(self, pause: float) -> None:
        while not self._stop.wait(pause):
            try:
                self._call("PUT", f"/seism/leases/{self.name}")
            except NotFound:
                return  # it has run out: calls under it are refused, and say so
            except SeismError:
                continue  # the sidecar may be busy; it is tried again in time
