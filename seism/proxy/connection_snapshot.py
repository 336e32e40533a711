"""Bytes of links and proxies, and a snapshot of an open connection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class CountedLink(Protocol):
    """A link, as far as its bytes go; see ``Traffic``."""

    @property
    def received(self) -> int: ...

    @property
    def sent(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one direction.

    ``received`` were read from its sender, ``sent`` were handed to the kernel for its
    receiver. The difference is held by a toxic, waits for the receiver, or is lost.
    """

    received: int = 0
    sent: int = 0


class TrafficTotal:
    """The bytes of one direction of many connections, added up as each ends."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = self.sent = 0

    def add(self, link: CountedLink) -> None:
        self.received += link.received
        self.sent += link.sent

    def with_(self, links: Iterable[CountedLink]) -> Traffic:
        """The sum of it and of ``links``, which live."""
        links = list(links)
        return Traffic(
            self.received + sum(link.received for link in links),
            self.sent + sum(link.sent for link in links),
        )


@dataclass(frozen=True, slots=True)
class ConnectionSnapshot:
    """One open connection, as it is now."""

    proxy: str
    number: int
    """The connection's number on its proxy, from 1."""
    client: str
    """``host:port`` of the client's end."""
    listen: str
    """``host:port`` of the proxy's end, towards the client."""
    source: str
    """``host:port`` from which the proxy talks to the backend; empty before it is connected."""
    age: float
    """Seconds since it was accepted."""
    upstream: Traffic
    downstream: Traffic
    toxics: tuple[str, ...]
    """Names of the toxics in force on it, upstream first, each direction in its chain's order,
    then those that act on exchanges."""
    protocol: str = ""
    """What its codec follows; empty for a connection without one."""
    opaque: str = ""
    """Why the codec understands no more: no exchange is perturbed from then on."""
