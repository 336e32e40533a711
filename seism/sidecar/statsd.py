"""StatsD: what standing chaos does, for a statsd server, as it happens."""

from __future__ import annotations

import logging
import re
from typing import Any

from seism.journal import ChaosBegan, ChaosJudged, ChaosStopped

log = logging.getLogger(__name__)

COUNTERS = (
    ("chaos.began.<name>", "perturbations that have begun"),
    ("chaos.judged.<name>.<colour>", "those that are over: green, amber, red, not_covered"),
    ("chaos.hit.<name>", "requests that they have hit"),
    ("chaos.stopped", "standing chaos has stopped for good"),
)
"""Every counter that is sent, below the prefix, and what it counts."""


def part(name: str) -> str:
    """``name`` as one component of a metric's name: lower case ASCII, no dots."""
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_") or "unnamed"


class ChaosCounters:
    """Sends to the statsd server at ``host``:``port`` over UDP; never raises.

    The host is resolved once, when the first number is sent. Where that fails one warning says
    so, and nothing is sent.
    """

    def __init__(self, host: str, port: int, prefix: str) -> None:
        self._address = (host, port)
        self._prefix = ".".join(map(part, prefix.split(".")))
        self._client: Any = None
        self._off = False

    def count(self, record: Any) -> None:
        """Take one record of standing chaos."""
        if isinstance(record, ChaosBegan):
            self._send(f"chaos.began.{part(record.name)}")
        elif isinstance(record, ChaosJudged):
            self._send(f"chaos.judged.{part(record.name)}.{part(record.colour)}")
            if record.hit:
                self._send(f"chaos.hit.{part(record.name)}", record.hit)
        elif isinstance(record, ChaosStopped):
            self._send("chaos.stopped")

    def close(self) -> None:
        """Close the socket; nothing is sent any more."""
        self._off = True
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _send(self, name: str, number: int = 1) -> None:
        if self._client is None and not self._off:
            try:
                from statsd import StatsClient

                self._client = StatsClient(*self._address, prefix=self._prefix)
            except (ImportError, OSError, UnicodeError) as error:
                self._off = True
                log.warning("nothing is sent to statsd at %s:%d: %s", *self._address, error)
        if self._client is not None:
            self._client.incr(name, number)
