"""The seam between the proxy in front of the app and what observes its connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Follower(Protocol):
    """Follows what is said on one connection; it must neither block nor raise."""

    asked: int
    """Requests that have begun."""

    def upstream(self, data: bytes) -> bytes:
        """The client's next bytes on their way to the app; what to send of them now."""

    def upstream_end(self) -> bytes:
        """The client has said all; what is still to be sent."""

    def downstream(self, data: bytes) -> None:
        """The app's next bytes, before the client's line has them."""

    def passed(self) -> None:
        """The toxics of the client's line have seen these bytes."""

    def downstream_end(self) -> None:
        """The app has said all."""

    def close(self) -> None:
        """The connection is over."""


Follow = Callable[[str], Follower]
"""Makes the follower of a new client's connection, given its ``host:port``."""
