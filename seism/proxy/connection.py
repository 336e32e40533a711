"""One client, one connection to the backend, two links."""

from __future__ import annotations

import _socket
import logging
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, NoReturn

from seism.journal import Consumer
from seism.model import DOWN
from seism.protocols.base import Codec, Exchange
from seism.proxy.backend import Backend
from seism.proxy.connection_snapshot import ConnectionSnapshot
from seism.proxy.conversation import Conversation
from seism.proxy.dial import Dial
from seism.proxy.endpoint import show_name
from seism.proxy.installed_toxic import InstalledToxic
from seism.proxy.link import Link
from seism.proxy.match import PREFIX
from seism.proxy.outlet import ConnectionOver
from seism.proxy.perturbation import Perturbation, PerturbedConnection, ToxicEffect, trace_of
from seism.proxy.pump import Socket
from seism.proxy.relay import Relay
from seism.proxy.witness import Witness
from seism.rng import Journalled
from seism.toxics.base import CLOSED, LOST, Chunk
from seism_middleware.contract import DOWNSTREAM, UPSTREAM, PerturbedExchange

logger = logging.getLogger(__name__)

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_DISCARD_LIMIT = 16
"""How many buffers are emptied so that closing says FIN, not RST."""


@dataclass(frozen=True, slots=True)
class AcceptedClient:
    """A client at the beginning of its connection."""

    proxy: str
    number: int
    """Clients are counted per proxy, from 1."""
    sock: _socket.socket
    """Fresh from accept."""
    peer: Any
    """Its address, as accept told it."""


class Connection:
    """Owns both sockets; ``gone`` is called once, when the last of them is closed."""

    link = Link
    """The class of its links."""

    __slots__ = (
        "_client",
        "_dial",
        "_dialled_out",
        "_first",
        "_gone",
        "_peer",
        "_proxy",
        "_ready",
        "_refused",
        "_relay",
        "_server",
        "_toxics",
        "_undecided",
        "_where",
        "broken",
        "closed",
        "conversation",
        "down",
        "number",
        "opened",
        "unreachable",
        "up",
    )

    def __init__(
        self,
        relay: Relay,
        accepted: AcceptedClient,
        gone: Callable[[Connection], None],
    ) -> None:
        self.number = accepted.number
        self.opened = relay.clock.now()
        self.closed = False
        self.broken = False
        """One side was reset: the other one will be, once it has what was sent to it."""
        self.unreachable = False
        """The backend did not answer the connect."""
        self._relay = relay
        self._proxy = accepted.proxy
        self._client: Socket = accepted.sock
        self._peer = accepted.peer
        self._gone = gone
        self._refused = ""
        self._server: Socket | None = None
        self._dial: Dial | None = None
        self._ready = False
        """The toxics that there were at the start are in effect."""
        self._dialled_out = False
        self._toxics: Sequence[InstalledToxic] = ()
        self._first: bytes | None = None
        """What the client began with, as far as a toxic has asked for it."""
        self._undecided = False
        self._where: PerturbedConnection | None = None
        """What perturbations say of it, once there is a backend."""
        self.up = self.link(self, UPSTREAM, relay)
        self.down = self.link(self, DOWNSTREAM, relay)
        self.up.other, self.down.other = self.down, self.up
        self.conversation: Conversation | None = None
        """What faults act on; None where no protocol is known."""

    def converse(
        self, codec: Codec, opaque: Callable[[str], None], witness: Witness | None = None
    ) -> None:
        """Follow the protocol, before ``start``; ``opaque`` is told if that ends, and why."""
        conversation = Conversation(self, self.up, self.down, codec, self._relay, opaque, witness)
        self.conversation = self.up.conversation = self.down.conversation = conversation

    def start(
        self, toxics: Sequence[InstalledToxic], backend: Backend, refused: str = "reset"
    ) -> None:
        """Arm the links, then connect to the backend: a stage may act before that.

        ``refused`` is what the client sees of a backend that does not answer, as in
        ``ProxySpec``.
        """
        self._refused = refused
        try:
            self._client.setblocking(False)
            self._dial = Dial(self._relay, backend, self._dialled)
            for installed in toxics:
                self._apply(installed, toxics)
            self._ready = True
            self._begin()
        except ConnectionOver:
            pass
        except Exception as error:
            if not isinstance(error, OSError):
                logger.exception("proxy %s: a connection could not be started", self._proxy)
            self.abort()

    def apply(self, installed: InstalledToxic, toxics: Sequence[InstalledToxic]) -> None:
        """Bring ``installed``, new or changed, into effect.

        ``toxics`` is the proxy's own list, and is looked at later, too.
        """
        with suppress(ConnectionOver):
            self._apply(installed, toxics)

    def drop(self, installed: InstalledToxic) -> None:
        """Take ``installed`` out of effect."""
        with suppress(ConnectionOver):
            self._drop(installed)

    def _apply(self, installed: InstalledToxic, toxics: Sequence[InstalledToxic]) -> None:
        self._toxics = toxics
        link = self._place(installed)
        if link is None:
            return
        if not self._affected(installed):
            self._drop(installed)
            return
        order = [each.name for each in toxics]
        position = sum(order.index(name) < order.index(installed.name) for name in link.names())
        with self._guarded():
            link.arm(installed, position)

    def _drop(self, installed: InstalledToxic) -> None:
        link = self._place(installed)
        if link is not None:
            with self._guarded():
                link.disarm(installed.name)

    def proceed(self) -> None:
        """Connect to the backend, once no toxic keeps it from that."""
        if self._dial is None or self._dialled_out:
            return
        if self._ready and not self.up.holds_dial:
            self._dialled_out = True
            self._dial.start()
            if self.closed:  # the outcome of the dial is told at once, or as an event
                raise ConnectionOver

    def _affected(self, installed: InstalledToxic) -> bool:
        if installed.toxic.connecting and self._dialled_out:
            return False
        established = installed.toxic.established or installed.spec.established
        if established and self.number > installed.history.accepted:
            return False
        first = self._first
        if first is None and not self.up.received:
            first = b""
        matches = installed.matches(_host(self._peer), first)
        if matches is None and (self.up.watched or not self.up.received):
            self._first = first
            self._undecided = True
            self.up.watch(self._began_with)
        return bool(matches) and installed.take_connection(self.chance(installed), self.number)

    def _began_with(self, data: bytes) -> None:
        """More of the client's first bytes: ask the toxics again that were not certain."""
        self._first = ((self._first or b"") + data)[:PREFIX]
        self._undecided = False
        for installed in list(self._toxics):
            needs_bytes = installed.needs_bytes
            link = self._place(installed)
            if needs_bytes and link is not None and installed.name not in link.names():
                self._apply(installed, self._toxics)
        if not self._undecided:
            self.up.watch(None)

    def chance(self, installed: InstalledToxic, exchange: int | None = None) -> float | None:
        """What is drawn for it on this connection, or in that exchange, if anything is."""
        if installed.per_exchange and exchange is None:
            return None
        return installed.chance(self._relay.seed, self._proxy, self.number, exchange)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        # A toxic that fails on one connection must not keep control from the others.
        try:
            yield
        except ConnectionOver:
            raise
        except Exception:
            logger.exception("proxy %s: a toxic failed, its connection is reset", self._proxy)
            self.end_with_reset()

    def rng(self, installed: InstalledToxic, exchange: int | None = None) -> Journalled:
        """The generator of one toxic on this connection, or in one exchange of it."""
        within = () if exchange is None else (exchange,)
        return self._relay.seed.journalled(
            "toxic", self._proxy, installed.name, self.number, *within
        )

    def began(
        self, installed: InstalledToxic, stream: str, offset: int, chunk: Chunk | None
    ) -> Perturbation:
        """A toxic takes effect at ``offset`` of the client's stream.

        ``chunk``: the client's bytes in which it does.
        """
        effect = ToxicEffect(
            stream,
            offset,
            None if stream == UPSTREAM else self.up.since,
            self.chance(installed),
            trace="" if chunk is None else trace_of(chunk.data),
        )
        return self._perturb(installed.name, installed.type, effect)

    def began_exchange(
        self, installed: InstalledToxic, exchange: Exchange, offset: int, chance: float | None
    ) -> Perturbation:
        """A fault takes effect on ``exchange``, whose request is at ``offset``."""
        told = PerturbedExchange(
            exchange.number, exchange.kind, exchange.phase, exchange.summary, exchange.trace
        )
        effect = ToxicEffect(UPSTREAM, offset, chance=chance, exchange=told, trace=exchange.trace)
        return self._perturb(installed.name, installed.type, effect)

    def _perturb(self, toxic: str, type: str, effect: ToxicEffect) -> Perturbation:
        where = self._where
        if where is None:
            where = PerturbedConnection(
                show_name(self._peer), _name(self._client), _name(self._server), self.number
            )
            if self._server is not None:
                self._where = where
        return self._relay.account.begin(self._proxy, toxic, type, where, effect)

    def consumer(self) -> Consumer | None:
        """What its client waits to be told by the backend; None if it does not, or nobody knows."""
        if self.conversation is None or self.conversation.witness is None:
            return None
        return self.conversation.witness.consumer(deaf=self.up.outlasts)

    def snapshot(self) -> ConnectionSnapshot:
        """What can be told of it now."""
        return ConnectionSnapshot(
            proxy=self._proxy,
            number=self.number,
            client=show_name(self._peer),
            listen=_name(self._client),
            source=_name(self._server),
            age=self._relay.clock.now() - self.opened,
            upstream=self.up.traffic,
            downstream=self.down.traffic,
            toxics=(
                *self.up.names(),
                *self.down.names(),
                *(self.conversation.names() if self.conversation else ()),
            ),
            protocol=self.conversation.protocol if self.conversation else "",
            opaque=self.conversation.opaque if self.conversation else "",
        )

    def cut(self) -> None:
        """Close because the proxy goes down, which is a perturbation of its own."""
        effect = ToxicEffect(offset=self.up.received, since=self.up.since)
        perturbation = self._perturb(DOWN, DOWN, effect)
        received = self.up.received
        self.close()
        perturbation.end(CLOSED, received)

    def close(self) -> None:
        """End with FIN on both sides. Closing what is closed does nothing."""
        self._close(_close_politely)

    def release(self) -> None:
        """Reset it if a toxic that has been removed still acts on it."""
        if self.up.outlasts:
            self.abort()

    def finish(self) -> None:
        """End after both streams have: nothing is unread, so that closing says FIN by itself."""
        self._close(_close_at_once)

    def abort(self) -> None:
        """End with RST on both sides. Closing what is closed does nothing."""
        self._close(_close_with_reset)

    # The same from within: nothing that was going on continues.

    def end_with_fin(self) -> NoReturn:
        """``close``."""
        self.close()
        raise ConnectionOver

    def end_after_both(self) -> NoReturn:
        """``finish``."""
        self.finish()
        raise ConnectionOver

    def end_with_reset(self) -> NoReturn:
        """``abort``."""
        self.abort()
        raise ConnectionOver

    def _close(self, close: Callable[[Socket], None]) -> None:
        if self.closed:
            return
        self.closed = True
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self.conversation is not None:
            self.conversation.close()
            self.conversation = None
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
        with suppress(ConnectionOver):
            if server is None:
                self.unreachable = True
                self._turn_away()
            else:
                self._connected(server)

    def _begin(self) -> None:
        """The links are armed: connect, unless a toxic keeps us from it."""
        self.proceed()
        if self.up.holds_dial:
            # So that a client that gives up is noticed.
            self.up.listen(self._client)

    def _connected(self, server: _socket.socket) -> None:
        self._server = server
        self._open()

    def _open(self) -> None:
        """Relay; a TLS connection does when every handshake is through."""
        assert self._server is not None
        self.up.connected()
        self.down.open(self._server, self._client)
        # Last, as what came before the dial may end the connection.
        self.up.open(self._client, self._server)

    def _turn_away(self) -> None:
        """The backend cannot be had."""
        if self._refused == "close":
            self.close()
        else:
            self.abort()

    def _place(self, installed: InstalledToxic) -> Link | Conversation | None:
        """Where ``installed`` acts; None where it can't, as no protocol is known."""
        if installed.per_exchange:
            return self.conversation
        toxic = installed.toxic
        upstream = installed.stream == UPSTREAM or toxic.connecting or toxic.established
        return self.up if upstream else self.down


def _host(peer: Any) -> str:
    """The client's IP address, as accept tells it; empty where it has none."""
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _name(sock: Socket | None) -> str:
    try:
        return "" if sock is None else show_name(sock.getsockname())
    except OSError:
        return ""


_close_at_once = methodcaller("close")


def _close_politely(sock: Socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
        # The kernel answers unread bytes with RST; what was read is not ours to answer.
        for _ in range(_DISCARD_LIMIT):
            if not sock.recv(65536):
                break
    except OSError:
        pass
    sock.close()


def _close_with_reset(sock: Socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError:
        pass
    sock.close()
