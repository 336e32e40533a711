"""Which exchanges of a connection change something, and whether the backend has carried them out;
whether its client waits for the backend to say something.

A witness sees the codec's pieces, which are the bytes of both sides before any toxic: the reply of
an exchange has come if the backend gave one, whatever its client gets.
"""

from __future__ import annotations

from collections.abc import Callable

from seism.journal import ChangingExchange, Consumer
from seism.protocols.base import Codec, Exchange, Piece
from seism_middleware.contract import UPSTREAM

Tell = Callable[[ChangingExchange], None]


class Witness:
    """Of one connection; ``tell`` takes a record of each exchange that changes something."""

    __slots__ = ("_blocking", "_client", "_codec", "_open", "_proxy", "_since", "_tell")

    def __init__(self, codec: Codec, proxy: str, client: str, tell: Tell) -> None:
        """``client`` is the ``host:port`` of its end."""
        self._codec = codec
        self._proxy = proxy
        self._client = client
        self._tell = tell
        self._open: dict[Exchange, tuple[float, str, bool]] = {}
        """(When it began, its effect, whether it was refused) of those without a whole reply."""
        self._blocking: Exchange | None = None
        """The last exchange that the backend answers once it has something to say."""
        self._since = 0.0
        """When it began."""

    def consumer(self, *, deaf: bool) -> Consumer | None:
        """The connection as one whose client waits for the backend, None if it is another.

        ``deaf``: it hears nothing any more.
        """
        if self._codec.subscription:
            return Consumer(self._proxy, self._client, self._codec.subscription, True, deaf=deaf)
        if self._blocking is None:
            return None
        waits = not self._blocking.answered
        return Consumer(
            self._proxy, self._client, self._blocking.kind, False, waits, self._since, deaf
        )

    def saw(self, stream: str, piece: Piece, now: float) -> None:
        """The next piece of ``stream``."""
        exchange = piece.exchange
        if exchange is None:
            return
        if stream == UPSTREAM:
            if piece.first and exchange.kind in self._codec.blocking:
                self._blocking, self._since = exchange, now
            if piece.first and (effect := self._codec.effect(exchange, piece.data)):
                self._open[exchange] = now, effect, False
            return
        known = self._open.get(exchange)
        if known is None:
            return
        at, effect, refused = known
        refused = refused or self._codec.refuses(piece.data)
        if piece.last:
            del self._open[exchange]
            self._record(exchange, at, effect, done=not refused)
        else:
            self._open[exchange] = at, effect, refused

    def close(self) -> None:
        """The connection is gone: nothing more is answered."""
        for exchange, (at, effect, _) in self._open.items():
            self._record(exchange, at, effect, done=False)
        self._open.clear()

    def _record(self, exchange: Exchange, at: float, effect: str, *, done: bool) -> None:
        self._tell(ChangingExchange(self._proxy, self._client, at, exchange.kind, effect, done))
