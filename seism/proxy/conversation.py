"""A connection whose protocol is known: between its sockets and its toxics stands a codec.

It sees what each side has really sent, before any toxic that acts on bytes. While no fault is
armed, each chunk is passed on at once, as it came, and only followed. Once one is, the
pieces of exchanges that it affects go through reactions, all others go on as they are.

What had been passed on before that is remembered: an exchange that had begun then is left
alone, and no byte of it comes twice. Replies keep the protocol's order: whatever a client is to
get for one exchange waits until those before it have got theirs.

Work is linear in what comes, however it is cut, and memory is bounded: see ``full``. What has been
held back goes out in slices of ``TURN`` exchanges, between which the event loop turns.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

from seism.errors import ProtocolError
from seism.protocols.base import Codec, Exchange, Piece
from seism.protocols.fault import (
    Answer,
    Answered,
    Began,
    Close,
    Commands,
    Fault,
    Reset,
    ToClient,
    ToServer,
    Wake,
)
from seism.proxy.chain import HELD_LIMIT
from seism.proxy.installed_toxic import InstalledToxic
from seism.proxy.outlet import ConnectionOver
from seism.proxy.pending import (
    ITEM_COST,
    TURN,
    AppliedFault,
    PendingExchange,
    PendingExchanges,
)
from seism.proxy.perturbation import Perturbation
from seism.proxy.pump import SLICE, SMALL
from seism.proxy.relay import Relay
from seism.proxy.timers import Timer
from seism.proxy.witness import Witness
from seism.rng import Journalled
from seism.toxics.base import LOST, PASSED, Chunk, Eof
from seism_middleware.contract import DOWNSTREAM, UPSTREAM

logger = logging.getLogger(__name__)

EXCHANGE_COST = 512
"""Bytes that an exchange is counted for until it has been answered."""
UNANSWERED_LIMIT = 16 * 1024 * 1024
"""Bytes of unanswered exchanges at which no more is read from the client: 32,768 of them."""
MANY_BEGUN = 16
"""Perturbations begun by one read after which the next one takes ``SHORT`` bytes."""
SHORT = 256


class ConversationLink(Protocol):
    """What a conversation asks of one direction of its connection."""

    received: int
    """Bytes that have been read from the sender."""
    reading: bool
    """Whether it reads on."""

    def enter_chain(self, item: Chunk | Eof, now: float) -> None:
        """Give ``item`` to the toxics on bytes, and so to the receiver."""

    def bypass_chain(self, chunk: Chunk) -> None:
        """Send ``chunk`` past the toxics on bytes."""

    def finish_with_fin(self, now: float) -> None:
        """Once the receiver has all that came before, the connection ends with FIN."""

    def regulate(self) -> None:
        """There may be room for more, or none any more."""

    def replies_altered(self) -> None:
        """The client counts other bytes from now on than come from the backend."""


class ConversationConnection(Protocol):
    """What a conversation asks of its connection."""

    def chance(self, installed: InstalledToxic, exchange: int) -> float | None:
        """What is drawn for ``installed`` in the exchange of that number, if anything is."""

    def rng(self, installed: InstalledToxic, exchange: int) -> Journalled:
        """The generator of ``installed`` in the exchange of that number."""

    def began_exchange(
        self, installed: InstalledToxic, exchange: Exchange, offset: int, chance: float | None
    ) -> Perturbation:
        """``installed`` takes effect on ``exchange``, whose request is at ``offset``."""

    def end_with_reset(self) -> NoReturn:
        """End with RST on both sides."""


@dataclass(frozen=True, slots=True)
class BegunTls:
    """What has come of TLS already when it begins within the streams."""

    upstream: bytes
    downstream: bytes


Upgrade = Callable[[BegunTls], None]


@dataclass(frozen=True, slots=True)
class _Blocked:
    """A piece that came behind a request that blocks."""

    pending: PendingExchange | None
    piece: Piece
    offset: int

    @property
    def cost(self) -> int:
        return ITEM_COST + len(self.piece.data)


class Conversation:
    """Stands before both links of its connection; each gives it what it reads."""

    __slots__ = (
        "_armed",
        "_begun",
        "_blocked",
        "_blocker",
        "_codec",
        "_connection",
        "_cut",
        "_cut_by",
        "_done",
        "_down",
        "_ending",
        "_eof",
        "_faults",
        "_giving_up",
        "_going_on",
        "_gone",
        "_grants",
        "_last",
        "_left",
        "_over",
        "_pending",
        "_position",
        "_relay",
        "_removing",
        "_said_opaque",
        "_to_client",
        "_to_server",
        "_to_server_at",
        "_to_server_end",
        "_up",
        "_upgrade",
        "_why",
        "opaque",
        "witness",
    )

    def __init__(
        self,
        connection: ConversationConnection,
        up: ConversationLink,
        down: ConversationLink,
        codec: Codec,
        relay: Relay,
        opaque: Callable[[str], None],
        witness: Witness | None = None,
    ) -> None:
        """``opaque`` is told once why the codec understands no more, if that comes; ``witness``
        sees every piece.
        """
        self.witness = witness
        self._connection = connection
        self._up = up
        self._down = down
        self._codec = codec
        self._relay = relay
        self._said_opaque = opaque
        self._codec.detail = witness is not None
        self._why = ""
        self._over = False
        self.opaque = ""
        """Why everything is passed on without being looked at; empty while it is."""
        self._faults: list[InstalledToxic] = []
        self._armed = False
        self._last: Exchange | None = None
        """The latest exchange that has begun while nothing was armed."""
        self._gone = {UPSTREAM: 0, DOWNSTREAM: 0}
        """Bytes that the codec holds and that have been passed on already."""
        self._position = 0
        """While armed: how much of the client's stream has come out of the codec."""
        self._pending = PendingExchanges(codec.ordered)
        self._blocker: PendingExchange | None = None
        self._blocked: deque[_Blocked | Eof] = deque()
        """What came behind a request that blocks."""
        self._left = TURN
        """How much may still be brought to an end before the event loop turns."""
        self._begun = 0
        """Perturbations that the last chunk has begun."""
        self._going_on: Timer | None = None
        """Set while something is left for the loop's next turn; the client waits meanwhile."""
        self._removing: deque[PendingExchange] = deque()
        """Those whose fault has been taken away, until their reactions have been told."""
        self._giving_up: deque[PendingExchange] | None = None
        """Those that are still to be let go; None unless the codec has just failed."""
        self._ending = False
        """The connection will end in some exchange: nothing that comes now counts."""
        self._done = False
        """The client has, or has coming, the end of the connection: nothing follows it."""
        self._eof: Eof | None = None
        """The server's, until it may be passed on."""
        self._cut = False
        self._cut_by: PendingExchange | None = None
        """The exchange whose reply is mid-message; no other bytes may interleave."""
        self._to_client: list[bytes] = []
        self._to_server: list[bytes] = []
        self._to_server_at = self._to_server_end = 0
        """Where in the client's stream these begin, and end."""
        self._upgrade: Upgrade | None = None
        self._grants = False

    def negotiate(self, upgrade: Upgrade, *, grants: bool) -> None:
        """Have ``upgrade`` called when TLS begins in both streams, and go on inside of it.

        ``grants``: the backend is not asked whether it agrees, nor told. Called before the
        first byte; nothing passes unseen until TLS has begun, or can't begin any more.
        """
        self._upgrade, self._grants = upgrade, grants
        self._codec.upgrades = True
        self._start_cutting()

    # What control does, at any time.

    def arm(self, installed: InstalledToxic, position: int) -> None:
        """Arm ``installed``, or exchange the one of its name; it counts for exchanges to come."""
        names = self.names()
        if installed.name in names:
            self._faults[names.index(installed.name)] = installed
            return
        self._faults.insert(position, installed)
        if not self._armed and not self.opaque:
            self._start_cutting()

    def disarm(self, name: str) -> None:
        """Disarm the fault ``name``, if it is here. What it has begun is brought to an end."""
        self._faults = [installed for installed in self._faults if installed.name != name]
        self._removing.extend(each for each in self._pending if each.fault_name == name)
        self._left = TURN
        self._settle(self._relay.clock.now())

    @property
    def protocol(self) -> str:
        return self._codec.name

    @property
    def parked(self) -> bool:
        """Whether all that the client has asked is answered."""
        if self._armed:
            return not self._pending
        return (self._last is None or self._last.answered) and not self._codec.unanswered

    @property
    def last_words(self) -> Mapping[str, bytes]:
        """``Codec.last_words``."""
        return self._codec.last_words

    def names(self) -> list[str]:
        """The faults that are armed, in the order in which they are asked."""
        return [installed.name for installed in self._faults]

    def full(self, stream: str) -> bool:
        """Whether nothing more of ``stream`` is to be read for now.

        Of the server's bytes ``HELD_LIMIT`` are held; of the client's so many as well, and
        exchanges that wait for their answer. The server's are read all the same then: their
        answers are what makes room.
        """
        held = self._pending.held
        if self._giving_up is not None or held.downstream >= HELD_LIMIT:
            return True
        if stream == DOWNSTREAM or self.opaque:
            return False
        if self._going_on is not None:
            return True
        # Nearly all that are pending are unanswered in the codec, too.
        unanswered = max(len(self._pending), self._codec.unanswered)
        return held.upstream >= HELD_LIMIT or unanswered * EXCHANGE_COST >= UNANSWERED_LIMIT

    def read_size(self, stream: str) -> int:
        """How many bytes of ``stream`` to read at once: a bounded number of messages, or as
        much of one payload as there is room for.

        While a fault is armed, a reply can begin a perturbation, which is more work than a
        request. Where the last read began many, the next one is short.
        """
        if self.opaque:
            return SMALL
        size = SLICE[UPSTREAM if self._armed else stream]
        if self._begun > MANY_BEGUN:
            size = SHORT
        return min(SMALL, size + self._codec.payload_left(stream))

    def close(self) -> None:
        """The connection is gone."""
        self._over = True
        if self.witness is not None:
            self.witness.close()
        if self._going_on is not None:
            self._going_on.cancel()
        self._blocked.clear()
        self._removing.clear()
        self._faults.clear()
        self._relay.lost.add(self._pending.take_all())

    # What the links do.

    def received(self, stream: str, chunk: Chunk, now: float) -> None:
        """A chunk has come."""
        self._left = TURN
        self._begun = 0
        if self.opaque:
            self._link(stream).enter_chain(chunk, now)
            return
        if self._armed:
            for piece in self._understood(stream, chunk.data):
                self._take_piece(stream, piece, now)
        else:
            self._link(stream).enter_chain(chunk, now)
            self._note(stream, self._understood(stream, chunk.data))
        if self._why or self._codec.opaque:
            self._give_up(self._why or self._codec.opaque, now)
        if self._codec.upgrading and stream == UPSTREAM:
            # There is no reply to wait for, and TLS must not come before what announces it.
            self._flush_up(now, past_toxics=True)
        if self._armed:
            self._settle(now)
        elif stream == DOWNSTREAM and not self._up.reading:
            self._up.regulate()
        if self._codec.upgrading:
            self._turn_to_tls()

    def _turn_to_tls(self) -> None:
        assert self._upgrade is not None
        up, down = (
            b"".join(piece.data for piece in self._codec.eof(stream))
            for stream in (UPSTREAM, DOWNSTREAM)
        )
        self._codec.upgraded()
        self._upgrade(BegunTls(up, down))

    def _understood(self, stream: str, data: bytes) -> Iterator[Piece]:
        """The codec's pieces, up to where it fails; ``_why`` has the reason then."""
        try:
            if self.witness is None:
                yield from self._codec.receive(stream, data)
                return
            now = self._relay.clock.now()
            for piece in self._codec.receive(stream, data):
                self.witness.saw(stream, piece, now)
                yield piece
        except ProtocolError as error:
            self._why = f"protocol error: {error}"
        except Exception:
            logger.exception("the codec of %s failed", self._codec.name)
            self._why = "the codec failed"

    def ended(self, stream: str, eof: Eof, now: float) -> None:
        """A stream has ended."""
        self._left = TURN
        if not self._armed or self.opaque:
            self._link(stream).enter_chain(eof, now)
            return
        try:
            for piece in self._codec.eof(stream):
                self._take_piece(stream, piece, now)
        except ProtocolError:
            self._release(stream)
        if stream == DOWNSTREAM:
            self._eof = eof
        elif self._waits:
            self._blocked.append(eof)
        else:
            # Of one that hangs for good, too: a client that gives up is seen to do so.
            self._flush(now)
            self._up.enter_chain(eof, now)
        self._settle(now)

    # While nothing is armed.

    def _note(self, stream: str, pieces: Iterator[Piece]) -> None:
        if stream == UPSTREAM:
            for piece in pieces:
                self._last = piece.exchange or self._last
            return
        for piece in pieces:
            self._cut = piece.cut
            if piece.exchange is not None and not piece.exchange.number:
                self._last = piece.exchange

    def _start_cutting(self) -> None:
        self._armed = self._codec.detail = True
        for stream in self._gone:
            self._gone[stream] = self._codec.holds(stream)
        self._position = self._up.received - self._gone[UPSTREAM]
        self._cut = self._cut or self._gone[DOWNSTREAM] > 0
        self._cut_by = None
        if self._last is not None and not self._last.answered:
            # All before it come before it: the others need not be remembered.
            self._pending.add(self._last, 0).requested = True
        self._last = None

    def _stop_cutting(self) -> None:
        latest = self._pending.latest
        if latest is not None:
            self._last = latest.exchange
        self._pending.clear()
        for stream in self._gone:
            self._release(stream)
        self._armed, self._codec.detail = False, self.witness is not None

    def _release(self, stream: str) -> None:
        """Pass on what the codec holds."""
        held = self._codec.held(stream)[self._gone[stream] :]
        self._gone[stream] = 0
        if not held:
            return
        if stream == UPSTREAM:
            self._put_up(held, self._up.received - len(held))
        else:
            self._to_client.append(held)

    # While something is.

    def _take_piece(self, stream: str, piece: Piece, now: float) -> None:
        offset = self._position
        if stream == UPSTREAM:
            self._position += len(piece.data)
        gone = min(self._gone[stream], len(piece.data))
        if gone:
            self._gone[stream] -= gone
            offset += gone
            piece = replace(piece, data=piece.data[gone:])
        if stream == UPSTREAM:
            self._asked(piece, offset, not gone, now)
        else:
            self._replied(piece, not gone, now)

    def _asked(self, piece: Piece, offset: int, pristine: bool, now: float) -> None:
        if self._ending:
            return
        exchange = piece.exchange
        pending = self._pending.get(exchange)
        if exchange is not None and pending is None and piece.first:
            pending = self._pend(exchange, offset, pristine)
            if self._grants and piece.last and pending.fault is None:
                self._grant(pending)
        if pending is not None:
            pending.end = offset + len(piece.data)
        if self._waits:
            blocked = _Blocked(pending, piece, offset)
            self._blocked.append(blocked)
            self._pending.held.count(UPSTREAM, blocked.cost)
        elif self._blocker is None:
            self._ask(pending, piece, offset, now)

    @property
    def _waits(self) -> bool:
        """What comes now from the client waits for what is before it."""
        return bool(self._blocked) if self._blocker is None else self._blocker.late

    def _grant(self, pending: PendingExchange) -> None:
        """The backend never hears of it where this asks for TLS."""
        reply = self._codec.grant(pending.exchange)
        if reply:
            self._pending.affect(pending, AppliedFault(Answer(reply)))
            self._down.replies_altered()

    def _ask(self, pending: PendingExchange | None, piece: Piece, offset: int, now: float) -> None:
        if pending is not None and piece.last:
            pending.requested = True
            pending.answered = pending.answered or not pending.exchange.replies
            self._pending.changed(pending)
        fault = None if pending is None else pending.fault
        if pending is None or fault is None:
            self._put_up(piece.data, offset)
        else:
            self._execute(pending, fault, fault.reaction.request(piece, now), now, UPSTREAM)

    def _replied(self, piece: Piece, pristine: bool, now: float) -> None:
        exchange = piece.exchange
        pending = self._pending.get(exchange)
        if pending is None and exchange is not None and not exchange.number and piece.first:
            pending = self._pend(exchange, 0, pristine)
        self._cut, self._cut_by = piece.cut, pending
        if pending is None:
            self._to_client.append(piece.data)
            return
        if pending.replied is None:
            pending.replied = now
        fault = pending.fault
        if fault is not None:
            self._execute(pending, fault, fault.reaction.reply(piece, now), now)
        else:
            pending.answered = pending.answered or piece.last
            if self._codec.ordered and pending is self._pending.head and pending.out is None:
                # The same, sooner: nearly all replies go this way.
                self._to_client.append(piece.data)
                if not pending.over:
                    return
                self._pending.remove(pending)
                if not self._pending:
                    return
            else:
                self._pending.queue(pending, piece.data, DOWNSTREAM)
                self._pending.changed(pending)
        self._let_out(now)

    def _pend(self, exchange: Exchange, offset: int, pristine: bool) -> PendingExchange:
        """The exchange, with the first fault that affects it."""
        pending = self._pending.add(exchange, offset)
        if pristine:
            fault = self._fault(exchange)
            if fault is not None:
                self._pending.affect(pending, fault)
                if fault.reaction.swallows and exchange.number:
                    self._codec.skip(exchange)
        return pending

    def _fault(self, exchange: Exchange) -> AppliedFault | None:
        found: AppliedFault | None = None
        for installed in self._faults:
            toxic = installed.toxic
            assert isinstance(toxic, Fault)
            if not installed.concerns(exchange):
                continue
            chance = self._connection.chance(installed, exchange.number)
            # Those behind the first one count, too, so that they don't depend on it.
            if installed.take_exchange(chance, free=found is None):
                rng = self._connection.rng(installed, exchange.number)
                found = AppliedFault(toxic.reaction(exchange, rng), installed, rng, chance)
        return found

    def _execute(
        self,
        pending: PendingExchange,
        fault: AppliedFault,
        commands: Commands,
        now: float,
        stream: str = DOWNSTREAM,
    ) -> None:
        """Carry out what the reaction wants, of bytes of ``stream``."""
        for command in commands:
            match command:
                case ToServer(data):
                    self._put_up(data, pending.offset + fault.sent)
                    fault.sent += len(data)
                case ToClient(data):
                    if data:
                        self._pending.queue(pending, data, stream)
                case Answered():
                    pending.answered = True
                case Wake(at):
                    if fault.timer is not None:
                        fault.timer.cancel()
                    fault.timer = self._relay.timers.at(at, lambda: self._due(pending, fault))
                case Began():
                    self._begin(pending, fault)
                case Close() | Reset():
                    self._pending.queue(pending, command, stream)
                    self._ending = True
        self._pending.count_reaction(pending, stream)
        self._pending.changed(pending)
        if fault.reaction.blocks:
            self._blocker = pending
        elif self._blocker is pending:
            self._blocker = None
            self._catch_up(now)

    def _catch_up(self, now: float) -> None:
        while self._blocked and self._blocker is None and self._left > 0:
            self._left -= 1
            blocked = self._blocked.popleft()
            if isinstance(blocked, Eof):
                self._flush(now)
                self._up.enter_chain(blocked, now)
            else:
                self._pending.held.count(UPSTREAM, -blocked.cost)
                self._ask(blocked.pending, blocked.piece, blocked.offset, now)

    def _begin(self, pending: PendingExchange, fault: AppliedFault) -> None:
        if fault.perturbation is None and fault.installed is not None:
            self._begun += 1
            fault.perturbation = self._connection.began_exchange(
                fault.installed, pending.exchange, pending.offset, fault.chance
            )
            fault.looking = fault.perturbation.wait(lambda: self._looked(pending, fault))
            if fault.reaction.outcome != PASSED:
                self._down.replies_altered()

    def _looked(self, pending: PendingExchange, fault: AppliedFault) -> None:
        fault.looking = False
        self._pending.changed(pending)
        self._guarded(self._settle)

    def _due(self, pending: PendingExchange, fault: AppliedFault) -> None:
        def due(now: float) -> None:
            fault.timer = None
            self._execute(pending, fault, fault.reaction.due(now), now)
            self._settle(now)

        self._guarded(due)

    def _guarded(self, act: Callable[[float], None]) -> None:
        """``act``, for the event loop."""
        if self._over:
            return
        self._left = TURN
        try:
            act(self._relay.clock.now())
        except ConnectionOver:
            pass
        except Exception:
            logger.exception("a fault failed, its connection is reset")
            with suppress(ConnectionOver):
                self._connection.end_with_reset()

    # What comes out.

    def _settle(self, now: float) -> None:
        """Let everything out that waits for nothing, and see what that leaves."""
        if self._giving_up is not None:
            self._let_go(self._giving_up, now)
            return
        self._say_removed(now)
        self._catch_up(now)
        self._let_out(now)
        if self._left <= 0:
            self._go_on_later(now)
            return
        if self._armed and not self._faults and not self._codec.upgrades and self._idle:
            self._stop_cutting()
        self._flush(now)
        head = self._pending.head
        if (
            self._eof is not None
            and not self._done
            and not (head is not None and (head.late or head.looking))
        ):
            eof, self._eof = self._eof, None
            self._down.enter_chain(eof, now)
        self._up.regulate()
        self._down.regulate()

    def _go_on_later(self, now: float) -> None:
        """Hand over what has been let out; the rest comes when the event loop has turned."""
        self._flush(now)
        if self._going_on is None:
            self._going_on = self._relay.timers.at(now, self._go_on)
        self._up.regulate()
        self._down.regulate()

    def _go_on(self) -> None:
        self._going_on = None
        self._guarded(self._settle)

    def _say_removed(self, now: float) -> None:
        while self._removing and self._left > 0:
            self._left -= 1
            pending = self._removing.popleft()
            fault = pending.fault
            if fault is not None and self._pending.get(pending.exchange) is pending:
                if fault.timer is not None:
                    fault.timer.cancel()
                self._execute(pending, fault, fault.reaction.removed(now), now)

    @property
    def _idle(self) -> bool:
        """Nothing is under way that a fault has begun."""
        if self._blocker is not None or self._eof is not None or self._ending:
            return False
        return self._pending.untouched

    def _let_out(self, now: float) -> None:
        """Give clients what they may get now."""
        if self._cut and not self._codec.ordered:
            # Nobody else's bytes may go between; the others are looked at when it is over.
            by = self._cut_by
            if by is not None and self._pending.get(by.exchange) is by:
                self._deliver(by, now)
            return
        while self._left > 0:
            pending = self._pending.next_changed()
            if pending is None:
                return
            self._deliver(pending, now)
            if pending.over:
                self._left -= 1
                self._pending.remove(pending)
                pending.close()
            elif self._codec.ordered:
                return

    def _deliver(self, pending: PendingExchange, now: float) -> None:
        if self._done or pending.looking or pending.out is None:
            return
        if self._cut and self._cut_by is not pending:
            return
        for item in self._pending.take_out(pending):
            if isinstance(item, bytes):
                self._to_client.append(item)
                pending.delivered += len(item)
                continue
            self._flush(now)
            pending.close()
            if isinstance(item, Reset):
                self._connection.end_with_reset()
            self._done = True
            self._down.finish_with_fin(now)
            return

    def _put_up(self, data: bytes, offset: int) -> None:
        if self._to_server and self._to_server_end != offset:
            self._flush_up(self._relay.clock.now())
        if not self._to_server:
            self._to_server_at = self._to_server_end = offset
        if data:
            self._to_server.append(data)
            self._to_server_end += len(data)

    def _flush(self, now: float) -> None:
        """Hand over what has been let out, in as few chunks as that takes."""
        self._flush_up(now)
        if self._to_client and not self._done:
            data, self._to_client = b"".join(self._to_client), []
            self._down.enter_chain(Chunk(data, self._down.received), now)

    def _flush_up(self, now: float, past_toxics: bool = False) -> None:
        if not self._to_server:
            return
        data, self._to_server = b"".join(self._to_server), []
        chunk = Chunk(data, self._to_server_at)
        if past_toxics:
            self._up.bypass_chain(chunk)
        else:
            self._up.enter_chain(chunk, now)

    def _give_up(self, why: str, now: float) -> None:
        """The codec understands no more: everything goes on as it comes."""
        self.opaque = why
        self._said_opaque(why)
        if not self._armed:
            return
        self._armed = False
        if any(
            pending.fault is not None and pending.fault.reaction.swallows and not pending.requested
            for pending in self._pending
        ):
            # The server has not got the beginning of what follows.
            self._connection.end_with_reset()
        self._cut = False
        self._giving_up = deque(self._pending)
        self._removing.clear()
        self._let_go(self._giving_up, now)

    def _let_go(self, giving_up: deque[PendingExchange], now: float) -> None:
        """Bring them to their ends, and then let go of what else is held."""
        while giving_up and self._left > 0:
            self._left -= 1
            pending = giving_up.popleft()
            fault = pending.fault
            if fault is not None:
                fault.looking = False
                if not pending.answered:
                    self._execute(pending, fault, fault.reaction.removed(now), now)
            self._deliver(pending, now)
            pending.close("" if pending.answered else LOST)
        if not giving_up:
            self._blocker = None
            self._catch_up(now)
        if self._left <= 0:
            self._go_on_later(now)
            return
        self._giving_up = None
        self._blocked.clear()
        self._pending.clear()
        for stream in self._gone:
            self._release(stream)
        self._flush(now)
        self._up.regulate()
        self._down.regulate()

    def _link(self, stream: str) -> ConversationLink:
        return self._up if stream == UPSTREAM else self._down
