"""Where a proxy's backend is: its name is looked up when it is dialled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent

from seism.errors import ConfigurationError
from seism.proxy.endpoint import Endpoint, resolve, resolve_numeric

logger = logging.getLogger(__name__)


class Backend:
    """The addresses of ``upstream``; none as long as its name has not been resolved.

    A proxy can be made before the container behind it: a name is looked up by the first
    client that needs it, and again after each one that could not be served.
    """

    def __init__(self, upstream: str, where: str) -> None:
        """Raises ConfigurationError for an invalid address."""
        self._upstream = upstream
        self._where = where
        numeric = resolve_numeric(upstream, where)
        self._named = numeric is None
        self.endpoints: tuple[Endpoint, ...] = numeric or ()
        self._waiting: list[Callable[[], None]] = []
        self._greenlet: Any = None
        self._complaint = ""

    def look_up(self, found: Callable[[], None]) -> None:
        """Look the name up, and call ``found`` on the event loop, whatever came of it.

        Whoever asks meanwhile waits for the same answer.
        """
        self._waiting.append(found)
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._look_up)

    def forget(self, found: Callable[[], None]) -> None:
        """Do not call ``found`` any more."""
        if found in self._waiting:
            self._waiting.remove(found)

    def refresh(self) -> None:
        """The backend may have moved: look its name up again, if it has one."""
        if self._named and self._greenlet is None:
            self._greenlet = gevent.spawn(self._look_up)

    def _look_up(self) -> None:
        complaint = ""
        try:
            self.endpoints = resolve(self._upstream, self._where)
        except ConfigurationError as error:
            complaint = str(error)
        if complaint and complaint != self._complaint:
            logger.warning("%s; clients are refused until it does", complaint)
        self._complaint = complaint
        self._greenlet = None
        waiting, self._waiting = self._waiting, []
        for found in waiting:
            try:
                found()
            except Exception:
                logger.exception("%s: connecting to the backend", self._where)
