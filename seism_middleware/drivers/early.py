"""psycopg2 is followed from its import, where a sidecar is configured in the environment.

Its classes are C: only connections that are made by a patched ``psycopg2._connect`` can be
followed. Many an app makes some before its first request, in which everything else is patched: a
pool that is filled, SQLAlchemy's ``create_all``. Until then the patch calls the driver and
nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from seism_middleware.contract import SIDECAR_VARIABLE
from seism_middleware.guard import shielded
from seism_middleware.imports import Imports

MODULE = "psycopg2"


class Early:
    """The patch, and the ``Spans`` that its calls go to once there are some."""

    def __init__(self) -> None:
        self._spans: Any = None
        self._undo: Callable[[], None] | None = None
        self._imports = Imports((MODULE,), self._patch)

    def start(self) -> None:
        """Patch, now or when the driver is imported."""
        self._imports.install()
        if MODULE in sys.modules:
            self._patch(MODULE)

    def adopt(self, module: str, spans: Any) -> bool:
        """Have ``spans`` follow the calls; False where ``module`` is not patched by this."""
        if module != MODULE or self._undo is None or self._spans is not None:
            return False
        self._spans = spans
        return True

    def release(self) -> None:
        """Put the original back; may be repeated."""
        self._imports.uninstall()
        self._spans = None
        if self._undo is not None:
            self._undo()
            self._undo = None

    def call(
        self,
        track: Any,
        fileno: Callable[[], int | None],
        function: Callable[[], Any],
        peers: Any = None,
    ) -> Any:
        """As ``Spans.call``; without any, ``function()`` alone."""
        if self._spans is None:
            return function()
        return self._spans.call(track, fileno, function, peers)

    @shielded
    def _patch(self, name: str) -> None:
        from seism_middleware.drivers.psycopg2 import patches

        if self._undo is not None:
            return
        ((module, attribute, wrap),) = patches(self)  # type: ignore[arg-type]
        original = getattr(module, attribute)
        put = wrap(original)
        setattr(module, attribute, put)

        def undo() -> None:
            if getattr(module, attribute) is put:
                setattr(module, attribute, original)

        self._undo = undo


EARLY = Early()


def start() -> None:
    """Follow the driver, if the environment names a sidecar."""
    if os.environ.get(SIDECAR_VARIABLE):
        EARLY.start()
