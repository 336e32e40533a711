"""One direction of one connection: what reads, and what becomes of the ends.

A link without toxics takes the fast path, which is its pump's; the callback is exchanged
when the first toxic comes and when the last one goes. With toxics, what is read goes
through the chain of their stages, and what comes out of it through the outlet.

Either way memory is bounded: what could not be sent stops the reading until it is
out, and so do stages that hold much. The end of a stream, and its reset, are passed
on as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn, Protocol

from seism.proxy.chain import Chain
from seism.proxy.connection_snapshot import Traffic
from seism.proxy.conversation import Conversation
from seism.proxy.installed_toxic import InstalledToxic
from seism.proxy.outlet import ConnectionOver, Outlet
from seism.proxy.perturbation import Perturbation
from seism.proxy.pump import SMALL, Pump, Socket
from seism.proxy.relay import Relay
from seism.rng import Journalled
from seism.toxics.base import Chunk, Eof
from seism_middleware.contract import UPSTREAM

logger = logging.getLogger(__name__)


class LinkConnection(Protocol):
    """What a link asks of its connection."""

    broken: bool
    """One side was reset: the other one will be, once it has what was sent to it."""

    def proceed(self) -> None:
        """Connect to the backend, if nothing keeps it from that any more."""

    def rng(self, installed: InstalledToxic) -> Journalled:
        """The generator of a toxic."""

    def began(
        self, installed: InstalledToxic, stream: str, offset: int, chunk: Chunk | None
    ) -> Perturbation:
        """A toxic takes effect; see ``ChainLink.began``."""

    def abort(self) -> None:
        """End with RST on both sides, and return."""

    def end_with_fin(self) -> NoReturn:
        """End with FIN on both sides."""

    def end_with_reset(self) -> NoReturn:
        """End with RST on both sides."""

    def end_after_both(self) -> NoReturn:
        """End after both streams have."""


class Link(Pump):
    """Moves bytes from one socket of its connection to the other."""

    __slots__ = (
        "_chain",
        "_connection",
        "_fd",
        "_intact",
        "_relay",
        "_source",
        "_watch",
        "conversation",
        "outlet",
        "read_all",
        "reading",
        "stream",
        "withheld",
    )

    plain: ClassVar[bool] = True
    """Whether bytes may go from socket to socket as they are."""

    other: Link
    """The other direction of the connection."""

    def __init__(self, connection: LinkConnection, stream: str, relay: Relay) -> None:
        super().__init__()
        self.stream = stream
        self.withheld = 0
        """Bytes received that the toxics hold or have lost, or that were given up unsent."""
        self.read_all = False
        """The sender's end of stream has been read."""
        self.reading = False
        """Whether this link will notice what its sender does next."""
        self.outlet = Outlet(self, relay.loop)
        self.conversation: Conversation | None = None
        """What stands before the chain, where the protocol is known."""
        self._connection: LinkConnection | None = connection
        """None once it is closed."""
        self._relay = relay
        self._chain: Chain | None = None
        """None as long as there has been no toxic."""
        self._watch: Callable[[bytes], None] | None = None
        self._source: Any = None
        self._fd = -1
        """The sender's socket, once it is listened to."""
        self._intact = True
        """All that comes out, or will, is what came."""

    def open(self, source: Socket, sink: Socket) -> None:
        """Start relaying; the connection still owns both sockets."""
        if self.plain:
            self.wire(source, sink)
        self.outlet.open(sink)
        if self._fd < 0:
            self.listen(source)
        else:
            self._choose()
        self.outlet.resume()

    def listen(self, source: Socket) -> None:
        """Start reading; there is no receiver yet, so little more than a buffer is taken."""
        self._source = source
        self._fd = source.fileno()
        self._choose()
        self.reading = True
        self._relay.poller.start(self._fd, self)

    def close(self, outcome: str) -> None:
        """Stop for good: watchers first, so that no reused descriptor is ever watched."""
        if self.reading:
            self.reading = False
            self._relay.poller.forget(self._fd)
        self._fd = -1
        self.withheld += self.outlet.close()
        self._watch = self.conversation = None
        if self._chain is not None:
            self._chain.close(outcome)
            self._chain = None
        # What refers to nothing that refers to it is no work for the collector.
        self._connection = None
        self.unwire()

    # What control does, at any time.

    def arm(self, installed: InstalledToxic, position: int) -> None:
        """Put its stage at ``position`` in the chain, or bring the stage up to date."""
        connection = self._here
        if self._chain is None:
            self._chain = Chain(self, self, self._relay)
        if not self._chain and self.read_all:
            return  # nothing will ever reach it
        self._chain.arm(installed, position, lambda: connection.rng(installed))
        self._choose()
        self.regulate()

    def disarm(self, name: str) -> None:
        """Remove the stage of the toxic ``name``, if this link has one."""
        if self._chain:
            self._chain.disarm(name)
            self._choose()
            self.regulate()

    def watch(self, watch: Callable[[bytes], None] | None) -> None:
        """Show all bytes that come to ``watch``, before any stage has them; None: no more."""
        self._watch = watch
        self._choose()

    @property
    def watched(self) -> bool:
        return self._watch is not None

    @property
    def holds_dial(self) -> bool:
        """Whether a stage keeps the backend from being dialled."""
        return self._chain is not None and self._chain.holds_dial

    def connected(self) -> None:
        """Let go of the stages that act while a connection is made only."""
        if self._chain:
            self._chain.connected()
            self._choose()

    def names(self) -> list[str]:
        """The toxics that have a stage here, in the chain's order."""
        return [] if self._chain is None else self._chain.names()

    def _choose(self) -> None:
        armed = self._chain or self._watch is not None or not self.outlet.is_open
        armed = armed or not self.plain or self.conversation is not None
        self.route(self._read if armed else None, self.stream == UPSTREAM)

    @property
    def _here(self) -> LinkConnection:
        if self._connection is None:
            raise ConnectionOver
        return self._connection

    # The armed path.

    def _read(self) -> None:
        try:
            buffer = self._relay.small
            size = self._source.recv_into(buffer[: self._read_size])
            if not size:
                self._read_end()
                return
            chunk = Chunk(bytes(buffer[:size]), self.received)
            if self.stream != UPSTREAM:
                self.other.answered = True
            elif self.answered:
                self.since = self.received
                self.answered = False
            if self._watch is not None:
                self._watch(chunk.data)
            self.received += size
            self.withheld += size
            self._arrived(chunk, self._relay.clock.now())
            self.regulate()
        except Exception as error:
            self.failed(error)

    @property
    def _read_size(self) -> int:
        """Bytes to read at once, so that what comes of them is a bounded amount of work."""
        return SMALL if self.conversation is None else self.conversation.read_size(self.stream)

    def _arrived(self, chunk: Chunk, now: float) -> None:
        if self._chain:
            self._chain.arrived(chunk)
        if self.conversation is not None:
            self.conversation.received(self.stream, chunk, now)
        else:
            self.enter_chain(chunk, now)

    def enter_chain(self, item: Chunk | Eof, now: float) -> None:
        """Give ``item`` to the toxics on bytes: what was read, or what a conversation says."""
        if self._chain:
            self._chain.enter(item, now)
        else:
            self.leave_chain(item)

    def bypass_chain(self, chunk: Chunk) -> None:
        """Send ``chunk`` past the toxics."""
        if self._chain:
            self._chain.note_sent(chunk.offset)
        self.leave_chain(chunk)

    def leave_chain(self, item: Chunk | Eof) -> None:
        """Send what has been through all stages."""
        if self.finished:
            return
        if isinstance(item, Eof):
            self.outlet.end(item.closes)
            return
        self.withheld -= len(item.data)
        self.outlet.send(item.data)

    def began(self, installed: InstalledToxic, offset: int, chunk: Chunk | None) -> Perturbation:
        """A stage takes effect."""
        return self._here.began(installed, self.stream, offset, chunk)

    @property
    def replies_intact(self) -> bool:
        """All that the backend says reaches the client unchanged."""
        return self.other._intact if self.stream == UPSTREAM else self._intact

    def replies_altered(self) -> None:
        """The client counts other bytes from now on than come from the backend."""
        self._intact = False

    # Whether to read.

    def regulate(self) -> None:
        """Read if, and only if, there is room for what would be read."""
        if not self.outlet.is_open:
            self._here.proceed()
        if self._fd < 0 or self.read_all or self.finished:
            return
        if self._has_room:
            if not self.reading:
                self.reading = True
                self._relay.poller.start(self._fd, self)
        else:
            self._pause()

    @property
    def _has_room(self) -> bool:
        waiting = self.outlet.waiting
        # As long as there is no receiver, a sender that gives up is noticed by reading on.
        if waiting and (self.outlet.is_open or waiting >= SMALL):
            return False
        if self._chain is not None and self._chain.full:
            return False
        return self.conversation is None or not self.conversation.full(self.stream)

    def _pause(self) -> None:
        if self.reading:
            self.reading = False
            self._relay.poller.stop(self._fd)

    def _keep(self, data: bytes) -> None:
        self.outlet.keep(data)

    # Ends.

    @property
    def finished(self) -> bool:
        """Nothing more will be sent: the end has been passed on, or the receiver is gone."""
        return self.outlet.finished

    def finish_with_fin(self, now: float) -> None:
        """Once the receiver has all that came before, the connection ends with FIN."""
        self.stop_reading()
        self.enter_chain(Eof(self.received, closes=True), now)

    def stop_reading(self) -> None:
        """What the sender still says does not matter."""
        self.read_all = True
        self._pause()

    def farewell(self, data: bytes) -> None:
        """The client gets ``data`` and the end of the stream, and nothing of the backend's."""
        down = self.other
        down.stop_reading()
        if data:
            down.replies_altered()
            down.outlet.send(data)
        if not down.finished:
            down.outlet.end(False)

    def mute(self) -> None:
        """The client gets nothing more."""
        self.other.stop_reading()

    @property
    def outlasts(self) -> bool:
        """Whether something acts on it though its toxic has been removed."""
        return self._chain is not None and self._chain.outlasts

    # What a stage may ask.

    @property
    def parked(self) -> bool:
        """Whether the client has the reply to all that it has sent."""
        if self.conversation is not None and not self.conversation.opaque:
            return self.conversation.parked
        client = self if self.stream == UPSTREAM else self.other
        return not client.received or client.answered

    @property
    def moved(self) -> int:
        """Bytes received so far, from both sides."""
        return self.received + self.other.received

    @property
    def last_words(self) -> Mapping[str, bytes]:
        """What the backend's protocol has for the end of an idle connection."""
        return {} if self.conversation is None else self.conversation.last_words

    def _read_end(self) -> None:
        self.read_all = True
        eof = Eof(self.received)
        if self.conversation is not None:
            self.conversation.ended(self.stream, eof, self._relay.clock.now())
        elif self._chain:
            self._chain.enter(eof, self._relay.clock.now())
        else:
            self.leave_chain(eof)
        self._pause()

    def end_sent(self) -> None:
        """All is sent, and the end of the stream is what is left."""
        self.outlet.finished = True
        connection = self._here
        if connection.broken:
            connection.end_with_reset()
        if self.outlet.closes:
            connection.end_with_fin()
        if self.other.finished and self.read_all and self.other.read_all:
            connection.end_after_both()
        self.outlet.shut()
        if self.other.finished:
            connection.end_with_fin()

    def receiver_gone(self) -> None:
        """The receiver's side is broken: what it had sent before still goes its way."""
        self.read_all = True
        self.withheld += self.outlet.abandon()
        if self._chain is not None:
            self._chain.receiver_gone()
        self._pause()
        connection = self._here
        connection.broken = True
        if not self.other.reading:
            connection.end_with_reset()

    def _receiver_gone(self) -> None:
        self.receiver_gone()

    def end_with_fin(self) -> NoReturn:
        """End the connection with FIN on both sides."""
        self._here.end_with_fin()

    def end_with_reset(self) -> NoReturn:
        """End the connection with RST on both sides."""
        self._here.end_with_reset()

    def failed(self, error: Exception) -> None:
        """What a callback of the event loop has raised."""
        if isinstance(error, BlockingIOError | InterruptedError | ConnectionOver):
            return
        if not isinstance(error, OSError):
            logger.error("a link failed", exc_info=error)
        if self._connection is not None:
            self._connection.abort()

    def _failed(self, error: Exception) -> None:
        self.failed(error)

    # What it has moved.

    @property
    def sent(self) -> int:
        """Bytes that the receiver's side has taken; so the fast path has one counter only."""
        return self.received - self.withheld - self.outlet.waiting

    @property
    def traffic(self) -> Traffic:
        """The bytes so far."""
        return Traffic(self.received, self.sent)
