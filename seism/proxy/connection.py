"""One client, one connection to the backend, two links."""

from __future__ import annotations

import _socket
import logging
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from seism.model import DOWN, show_address
from seism.proxy.dial import Dial, tune
from seism.proxy.endpoint import Endpoint
from seism.proxy.link import Link
from seism.proxy.live import Live
from seism.proxy.perturbation import Perturbation
from seism.proxy.relay import Relay
from seism.proxy.rule import Rule
from seism.toxics.base import CLOSED, LOST, Rng
from seism_middleware.contract import DOWNSTREAM, UPSTREAM

logger = logging.getLogger(__name__)

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_DISCARD_LIMIT = 16
"""How many buffers are emptied so that closing says FIN, not RST."""


class Connection:
    """Owns both sockets; ``gone`` is called once, when the last of them is closed."""

    __slots__ = (
        "_client",
        "_dial",
        "_gone",
        "_peer",
        "_proxy",
        "_relay",
        "_server",
        "broken",
        "closed",
        "down",
        "number",
        "opened",
        "unreachable",
        "up",
    )

    def __init__(
        self,
        relay: Relay,
        proxy: str,
        number: int,
        client: _socket.socket,
        peer: tuple[Any, ...],
        gone: Callable[[Connection], None],
    ) -> None:
        """``client`` is a socket fresh from accept, ``number`` counts them per proxy."""
        self.number = number
        self.opened = relay.clock.now()
        self.closed = False
        self.broken = False
        """One side was reset: the other one will be, once it has what was sent to it."""
        self.unreachable = False
        """The backend did not answer the connect."""
        self._relay = relay
        self._proxy = proxy
        self._client = client
        self._peer = peer
        self._gone = gone
        self._server: _socket.socket | None = None
        self._dial: Dial | None = None
        self.up = Link(self, UPSTREAM, relay)
        self.down = Link(self, DOWNSTREAM, relay)
        self.up.other, self.down.other = self.down, self.up

    def start(self, rules: Sequence[Rule], backend: Sequence[Endpoint]) -> None:
        """Arm the links, then connect to the backend: a stage may act before that."""
        try:
            tune(self._client)
            for rule in rules:
                self.apply(rule, rules)
                if self.closed:
                    return
            self._dial = Dial(self._relay, backend, self._dialled)
            self._dial.start()
        except Exception as error:
            if not isinstance(error, OSError):
                logger.exception("proxy %s: a connection could not be started", self._proxy)
            self.abort()

    def apply(self, rule: Rule, rules: Sequence[Rule]) -> None:
        """Bring ``rule``, new or changed, into effect; ``rules`` is the proxy's whole list."""
        link = self._link(rule)
        if not rule.affects(self._relay.seed, self._proxy, self.number):
            self.drop(rule)
            return
        order = [each.name for each in rules]
        position = sum(order.index(name) < order.index(rule.name) for name in link.names())
        with self._guarded():
            link.put(rule, position)

    def drop(self, rule: Rule) -> None:
        """Take ``rule`` out of effect."""
        with self._guarded():
            self._link(rule).take(rule.name)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        # A toxic that fails on one connection must not keep control from the others.
        try:
            yield
        except Exception:
            logger.exception("proxy %s: a toxic failed, its connection is reset", self._proxy)
            self.abort()

    def rng(self, rule: Rule) -> Rng:
        """The generator of one toxic on this connection."""
        return self._relay.seed.stream("toxic", self._proxy, rule.name, self.number)

    def began(
        self, toxic: str, type: str, *, stream: str, offset: int, since: int | None
    ) -> Perturbation:
        """Begin a perturbation of this connection."""
        return self._relay.account.begin(
            self._proxy,
            toxic,
            type,
            stream=stream,
            client=show_address(*self._peer[:2]),
            listen=_name(self._client),
            source=_name(self._server),
            offset=offset,
            since=since,
        )

    def live(self) -> Live:
        """What can be told of it now."""
        return Live(
            proxy=self._proxy,
            number=self.number,
            client=show_address(*self._peer[:2]),
            listen=_name(self._client),
            source=_name(self._server),
            age=self._relay.clock.now() - self.opened,
            upstream=self.up.traffic,
            downstream=self.down.traffic,
            toxics=(*self.up.names(), *self.down.names()),
        )

    def cut(self) -> None:
        """Close because the proxy goes down, which is a perturbation of its own."""
        perturbation = self.began(
            DOWN, DOWN, stream="", offset=self.up.received, since=self.up.since
        )
        received = self.up.received
        self.close()
        perturbation.end(CLOSED, received)

    def close(self) -> None:
        """End with FIN on both sides. Closing what is closed does nothing."""
        self._close(_close_politely)

    def abort(self) -> None:
        """End with RST on both sides. Closing what is closed does nothing."""
        self._close(_close_with_reset)

    def _close(self, close: Callable[[_socket.socket], None]) -> None:
        if self.closed:
            return
        self.closed = True
        if self._dial is not None:
            self._dial.cancel()
        self.up.close(LOST)
        self.down.close(LOST)
        for sock in (self._client, self._server):
            if sock is not None:
                close(sock)
        self._gone(self)

    def _dialled(self, server: _socket.socket | None) -> None:
        # The reset was told with the connect, and the socket will not tell it again.
        self.broken = self._dial is not None and self._dial.was_reset
        self._dial = None
        if server is None:
            self.unreachable = True
            self.abort()
            return
        self._server = server
        self.up.open(self._client, server)
        self.down.open(server, self._client)

    def _link(self, rule: Rule) -> Link:
        return self.up if rule.stream == UPSTREAM else self.down


def _name(sock: _socket.socket | None) -> str:
    try:
        return "" if sock is None else show_address(*sock.getsockname()[:2])
    except OSError:
        return ""


def _close_politely(sock: _socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
        # The kernel answers unread bytes with RST; what was read is not ours to answer.
        for _ in range(_DISCARD_LIMIT):
            if not sock.recv(65536):
                break
    except OSError:
        pass
    sock.close()


def _close_with_reset(sock: _socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError:
        pass
    sock.close()
