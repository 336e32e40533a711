"""``GET /metrics``: Prometheus' text format, version 0.0.4.

Toxiproxy's two metrics have its names and labels; all others are ours. Every figure is
read when it is asked for, so counters move while connections live.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from webob import Request, Response

from seism.journal import ChaosJudged, Journal
from seism.proxy.collection import Collection
from seism.proxy.slices import in_slices
from seism.sidecar.control.router import Route, Router
from seism.sidecar.feed import Feed
from seism.sidecar.hub import Hub
from seism_middleware.contract import DOWNSTREAM, UPSTREAM, PerturbationBegan

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[dict[str, str], float]
"""Labels and value."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with its samples."""

    name: str
    type: str
    """``counter`` or ``gauge``."""
    help: str
    samples: Iterable[Sample]


class Metrics:
    """Counts the perturbations, and reads everything else where it is kept."""

    def __init__(self, collection: Collection, hub: Hub, journal: Journal, feed: Feed) -> None:
        self._collection = collection
        self._hub = hub
        self._journal = journal
        self._feed = feed
        self._perturbations: Counter[tuple[str, str, str]] = Counter()
        self._chaos: Counter[tuple[str, str]] = Counter()

    def count(self, record: Any) -> None:
        """Take one record of the proxies."""
        if isinstance(record, PerturbationBegan):
            self._perturbations[record.proxy, record.toxic, record.type] += 1
        elif isinstance(record, ChaosJudged):
            self._chaos[record.name, record.colour] += 1

    def routes(
        self, served: Callable[[], Router], refused: Callable[[], Counter[int]]
    ) -> list[Route]:
        """The row; both functions are called with each request."""

        def metrics(_: Request) -> Response:
            found = [*self._of_proxies(), *self._of_the_sidecar(served().served, refused())]
            response = Response(render(found).encode(), content_type="text/plain")
            response.headers["Content-Type"] = CONTENT_TYPE
            return response

        return [
            Route(
                "GET", "/metrics", metrics, "All counters, in Prometheus' text format",
                gives=str, content="text/plain",
            )
        ]  # fmt: skip

    def _of_proxies(self) -> Iterator[Metric]:
        proxies = self._collection.list()
        received: list[Sample] = []
        sent: list[Sample] = []
        for proxy in in_slices(proxies):
            for direction, traffic in zip((UPSTREAM, DOWNSTREAM), proxy.traffic(), strict=True):
                labels = {
                    "direction": direction,
                    "listener": proxy.listen,
                    "proxy": proxy.name,
                    "upstream": proxy.upstream,
                }
                received.append((labels, traffic.received))
                sent.append((labels, traffic.sent))
        yield Metric(
            "toxiproxy_proxy_received_bytes_total", "counter",
            "Bytes that a proxy has read from the sender of a direction.", received,
        )  # fmt: skip
        yield Metric(
            "toxiproxy_proxy_sent_bytes_total", "counter",
            "Bytes that a proxy has written to the receiver of a direction.", sent,
        )  # fmt: skip
        yield Metric(
            "seism_proxy_up", "gauge", "1 while a proxy is enabled.",
            [({"proxy": proxy.name}, int(proxy.enabled)) for proxy in proxies],
        )  # fmt: skip
        yield Metric(
            "seism_connections_open", "gauge", "Client connections that are open now.",
            [({"proxy": proxy.name}, proxy.connections) for proxy in proxies],
        )  # fmt: skip
        yield Metric(
            "seism_connections_total", "counter", "Client connections that were accepted.",
            [({"proxy": proxy.name}, proxy.accepted) for proxy in proxies],
        )  # fmt: skip
        yield Metric(
            "seism_connections_opaque_total", "counter",
            "Connections whose protocol was understood no more: no exchange is perturbed then.",
            [
                ({"proxy": proxy.name, "reason": reason}, count)
                for proxy in proxies
                for reason, count in sorted(proxy.opaque.items())
            ],
        )  # fmt: skip
        yield Metric(
            "seism_perturbations_total", "counter", "Perturbations that have begun.",
            [
                ({"proxy": proxy, "toxic": toxic, "type": kind}, count)
                for (proxy, toxic, kind), count in sorted(self._perturbations.items())
            ],
        )  # fmt: skip

        yield Metric(
            "seism_chaos_total", "counter", "Perturbations of standing chaos, by their verdicts.",
            [
                ({"name": name, "colour": colour}, count)
                for (name, colour), count in sorted(self._chaos.items())
            ],
        )  # fmt: skip

    def _of_the_sidecar(
        self, served: Counter[tuple[str, str, int]], refused: Counter[int]
    ) -> Iterator[Metric]:
        requests: list[Sample] = [
            ({"method": method, "path": path, "status": str(status)}, count)
            for (method, path, status), count in sorted(served.items())
        ]
        for status, count in sorted(refused.items()):
            requests.append(({"method": "", "path": "", "status": str(status)}, count))
        yield Metric(
            "seism_control_requests_total", "counter",
            "Requests to this API; method and path are empty where there is no such route.",
            requests,
        )  # fmt: skip
        yield Metric(
            "seism_records_dropped_total", "counter",
            "Records that are missing: from the journal, from a worker, from a reader of events.",
            [
                ({"from": "journal"}, self._journal.lost),
                ({"from": "worker"}, self._hub.dropped),
                ({"from": "events"}, self._feed.missed),
            ],
        )  # fmt: skip
        yield Metric(
            "seism_observations_total", "counter", "Requests of the app that were observed.",
            [({}, self._hub.observed)],
        )  # fmt: skip
        yield Metric(
            "seism_workers", "gauge", "Workers of the app that are connected.",
            [({}, len(self._hub.workers))],
        )  # fmt: skip
        yield Metric(
            "seism_event_readers", "gauge", "Readers of /seism/events.", [({}, self._feed.readers)]
        )


def render(metrics: Iterable[Metric]) -> str:
    """The text of ``metrics``."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.type}")
        for labels, value in in_slices(metric.samples, 1000):
            inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            lines.append(f"{metric.name}{{{inner}}} {value}" if inner else f"{metric.name} {value}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
