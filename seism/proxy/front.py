"""The proxy in front of the app: connections whose HTTP exchanges are followed.

It stands where no middleware can run. Bytes are followed on the app's side of every toxic, so
that what is observed is what the app was asked and what it answered, whatever is done to the
client's line. What is passed on is the client's, but for what ``StreamFollower.upstream`` adds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from seism.proxy.connection import AcceptedClient, Connection
from seism.proxy.link import Link
from seism.proxy.relay import Relay, StreamFollower
from seism.proxy.timers import Timer
from seism.toxics.base import Chunk, Eof
from seism_middleware.contract import DOWNSTREAM, UPSTREAM

PATIENCE = 1.0
"""Seconds that a client of an app that cannot be reached has to say what it wants."""
BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n"
    b"Seism-Front: the app cannot be reached\r\n\r\n"
)


class FrontLink(Link):
    """Lets the follower see, on the app's side, what goes through."""

    __slots__ = ()
    plain: ClassVar[bool] = False

    @property
    def _follower(self) -> StreamFollower:
        connection = self._connection
        assert isinstance(connection, FrontConnection)
        return connection.follower

    @property
    def _read_size(self) -> int:
        return min(super()._read_size, self._follower.read_size(self.stream))

    def _arrived(self, chunk: Chunk, now: float) -> None:
        follower = self._follower
        if self.stream == DOWNSTREAM:
            follower.downstream(chunk.data)
        super()._arrived(chunk, now)
        follower.passed()

    def _read_end(self) -> None:
        if self.stream == DOWNSTREAM:
            self._follower.downstream_end()
        super()._read_end()

    def leave_chain(self, item: Chunk | Eof) -> None:
        if self.finished:
            return
        if self.stream != UPSTREAM:
            super().leave_chain(item)
            return
        if isinstance(item, Eof):
            self._put_on(self._follower.upstream_end(), 0, item.offset)
            super().leave_chain(item)
            return
        self._put_on(self._follower.upstream(item.data), len(item.data), item.offset)

    def _put_on(self, data: bytes, of: int, offset: int) -> None:
        # What is added or kept must not make the count of what was withheld wrong.
        self.withheld += len(data) - of
        if data:
            super().leave_chain(Chunk(data, offset))


class FrontConnection(Connection):
    """A connection to the app.

    A client that cannot be served may say what it wants first, so that there is a request
    that got no response; then it sees what the proxy's ``refused`` says, or a 502.
    """

    link = FrontLink
    __slots__ = ("_bad_gateway", "_patience", "follower")

    def __init__(
        self,
        follower: StreamFollower,
        bad_gateway: bool,
        relay: Relay,
        accepted: AcceptedClient,
        gone: Callable[[Connection], None],
    ) -> None:
        self.follower = follower
        self._bad_gateway = bad_gateway
        self._patience: Timer | None = None
        super().__init__(relay, accepted, gone)

    def _turn_away(self) -> None:
        if self.follower.asked:
            self._refuse()
            return
        self._patience = self._relay.timers.at(self._relay.clock.now() + PATIENCE, self._refuse)
        self.up.watch(self._said)
        if not self.up.reading:
            self.up.listen(self._client)

    def _said(self, data: bytes) -> None:
        # Not before the link has passed these bytes on, after which the request has begun.
        self._relay.timers.at(self._relay.clock.now(), self._look)

    def _look(self) -> None:
        if self.follower.asked and not self.closed:
            self._refuse()

    def _refuse(self) -> None:
        self._patience = None
        if self._bad_gateway and self.follower.asked:
            try:
                self._client.send(BAD_GATEWAY)
            except OSError:
                pass  # the client is gone
            self.close()
        else:
            super()._turn_away()

    def _close(self, close: Callable[[Any], None]) -> None:
        if not self.closed:
            if self._patience is not None:
                self._patience.cancel()
            self.follower.close()
        super()._close(close)
