"""What can be told of a connection while it lives, and of the bytes of a proxy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one direction.

    ``received`` were read from its sender, ``sent`` were handed to the kernel for its
    receiver. What is between the two is held by a toxic, waits for the receiver, or is lost.
    """

    received: int = 0
    sent: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.received + other.received, self.sent + other.sent)


@dataclass(frozen=True, slots=True)
class Live:
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
    """Names of the toxics in force on it, upstream first, each direction in its chain's order."""
