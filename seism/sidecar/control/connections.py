"""``GET /seism/connections``: what is open now, and what has passed through it so far."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from webob import Request, Response

from seism.options import option
from seism.proxy.collection import Collection
from seism.proxy.connection_snapshot import ConnectionSnapshot
from seism.proxy.proxy import Proxy
from seism.proxy.slices import in_slices
from seism.sidecar.control.router import Route, answer, read_query

LIMIT = 1000


@dataclass(frozen=True, slots=True)
class ConnectionsAsked:
    """Parameters of ``GET /seism/connections``."""

    proxy: str = option("", help="only this proxy's")
    limit: int = option(
        LIMIT, help="at most so many, the oldest of each proxy first", minimum=0, maximum=65536
    )


@dataclass(frozen=True, slots=True)
class ConnectionsShown:
    """The open connections."""

    open: int
    """How many there are, shown or not."""
    connections: list[ConnectionSnapshot]


def routes(collection: Collection) -> list[Route]:
    """The row, to be put into a Router."""

    def connections(request: Request) -> Response:
        asked = read_query(ConnectionsAsked, request)
        proxies = [collection.get(asked.proxy)] if asked.proxy else collection.list()
        shown: list[dict[str, Any]] = []
        for live in in_slices(itertools.islice(_all(proxies), asked.limit)):
            shown.append(dataclasses.asdict(live))
        return answer({"open": sum(proxy.connections for proxy in proxies), "connections": shown})

    return [
        Route(
            "GET", "/seism/connections", connections, "Live connections with their counters",
            gives=ConnectionsShown, query=ConnectionsAsked,
        )
    ]  # fmt: skip


def _all(proxies: Iterable[Proxy]) -> Iterable[ConnectionSnapshot]:
    return (each for proxy in proxies for each in proxy.snapshots())
