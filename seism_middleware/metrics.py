"""StatsD: the middleware's numbers for a statsd server, sent as the signals arrive."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seism_middleware import signals
from seism_middleware.contract import PerturbationBegan, RequestEnded

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """One metric, below the prefix; what is in ``<>`` is one of many."""

    name: str
    type: str
    """``counter``, ``timer`` or ``gauge``."""
    help: str


METRICS = (
    Metric("requests.<class>", "counter", "responses by class: 2xx to 5xx, none without one"),
    Metric("requests.503", "counter", "responses that said 503"),
    Metric("response.<class>", "timer", "how long they took, in ms"),
    Metric("in_flight", "gauge", "requests that run"),
    Metric("rss", "gauge", "resident memory of the worker, in bytes"),
    Metric("cpu", "gauge", "processor time of the worker, in percent of one processor"),
    Metric("perturbations.<backend>.<type>", "counter", "perturbations that have begun"),
)
"""Every metric that is sent. Gauges are sent by each worker: they show the last one's."""


def sanitise(name: str) -> str:
    """``name`` as one component of a metric's name: lower case ASCII, no dots."""
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_") or "unnamed"


def status_class(status: int | None) -> str:
    """``2xx`` for 204; ``none`` where there was no response."""
    return "none" if status is None else f"{status // 100}xx"


class Metrics:
    """Sends to the statsd server at ``host``:``port`` over UDP; never raises.

    The client resolves the host once, when the first number is sent. Where that fails, or
    ``statsd`` or ``blinker`` is not installed, one warning says so and nothing is sent.
    """

    def __init__(
        self, host: str, port: int, prefix: str, in_flight: Callable[[], int],
        cpu_percent: Callable[[], float],
    ) -> None:  # fmt: skip
        self._address = (host, port)
        self._prefix = ".".join(sanitise(part) for part in prefix.split("."))
        self._in_flight = in_flight
        self._cpu_percent = cpu_percent
        self._client: Any = None
        self._off = False

    def subscribe(self, sender: Any) -> None:
        """Count what ``sender``, an Observer, signals."""
        try:
            signals.request_ended.connect(self._ended, sender=sender)
            signals.perturbation_began.connect(self._began, sender=sender)
        except ImportError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the socket to the statsd server; nothing is sent any more."""
        self._off = True
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> Any:
        if self._client is None and not self._off:
            host, port = self._address
            try:
                from statsd import StatsClient

                self._client = StatsClient(host, port, prefix=self._prefix)
            except (ImportError, OSError, UnicodeError) as error:
                self._give_up(error)
        return self._client

    def _give_up(self, error: Exception) -> None:
        self._off = True
        _log.warning("no metrics are sent to statsd at %s:%d: %s", *self._address, error)

    def _ended(self, sender: Any, record: RequestEnded) -> None:
        client = self._connected()
        if client is None:
            return
        kind = status_class(record.status)
        with client.pipeline() as batch:
            batch.incr(f"requests.{kind}")
            if record.status == 503:
                batch.incr("requests.503")
            batch.timing(f"response.{kind}", record.duration * 1000)
            batch.gauge("in_flight", self._in_flight())
            if record.rss is not None:
                batch.gauge("rss", record.rss)
            batch.gauge("cpu", round(self._cpu_percent(), 1))

    def _began(self, sender: Any, record: PerturbationBegan) -> None:
        client = self._connected()
        if client is not None:
            client.incr(f"perturbations.{sanitise(record.proxy)}.{sanitise(record.type)}")
