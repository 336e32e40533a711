"""A connection whose protocol is known: between its sockets and its toxics stands a codec.

It sees what each side has really sent, before any toxic that acts on bytes. While no fault is
armed, each chunk is passed on at once, as it came, and only followed. Once one is, the
pieces of exchanges that it affects go through reactions, all others go on as they are.

What had been passed on before that is remembered: an exchange that had begun then is left
alone, and no byte of it comes twice. Replies keep the protocol's order: each exchange has its
turn, and whatever its client is to get waits for it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

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
from seism.proxy.link import HELD_LIMIT, Link
from seism.proxy.relay import Relay
from seism.proxy.rule import Rule
from seism.proxy.turn import Turn
from seism.toxics.base import LOST, PASSED, Chunk, Eof
from seism_middleware.contract import DOWNSTREAM, UPSTREAM

if TYPE_CHECKING:
    from seism.proxy.connection import Connection

logger = logging.getLogger(__name__)

Upgrade = Callable[[dict[str, bytes]], None]
"""Takes what has come of TLS already, by stream."""


class Conversation:
    """Stands before both links of its connection; each gives it what it reads."""

    __slots__ = (
        "_armed",
        "_blocker",
        "_codec",
        "_connection",
        "_cut",
        "_cut_by",
        "_done",
        "_ending",
        "_eof",
        "_gone",
        "_grants",
        "_last",
        "_outbox",
        "_outbox_at",
        "_relay",
        "_rules",
        "_said_opaque",
        "_turns",
        "_upgrade",
        "_waiting",
        "_why",
        "opaque",
    )

    def __init__(
        self, connection: Connection, codec: Codec, relay: Relay, opaque: Callable[[str], None]
    ) -> None:
        """``opaque`` is told once why the codec understands no more, if that comes."""
        self._connection = connection
        self._codec = codec
        self._relay = relay
        self._said_opaque = opaque
        self._codec.detail = False
        self._why = ""
        self.opaque = ""
        """Why everything is passed on without being looked at; empty while it is."""
        self._rules: list[Rule] = []
        self._armed = False
        self._last: Exchange | None = None
        """The latest exchange that has begun while nothing was armed."""
        self._gone = {UPSTREAM: 0, DOWNSTREAM: 0}
        """Bytes that the codec holds and that have been passed on already."""
        # Many may be taken from its front, which costs a plain dict more each time.
        self._turns: OrderedDict[Exchange, Turn] = OrderedDict()
        self._blocker: Turn | None = None
        self._waiting: deque[tuple[Turn | None, Piece, int] | Eof] = deque()
        """What came behind a request that blocks: turn, piece and its offset."""
        self._ending = False
        """The connection will end in some exchange's turn: nothing that comes now counts."""
        self._done = False
        """The client has, or has coming, the end of the connection: nothing follows it."""
        self._eof: Eof | None = None
        """The server's, until it may be passed on."""
        self._cut = False
        self._cut_by: Turn | None = None
        """Whose reply it is whose message goes on; nothing of others may go between."""
        self._outbox: dict[str, list[bytes]] = {UPSTREAM: [], DOWNSTREAM: []}
        self._outbox_at = 0
        """Where in the client's stream the first byte for the server was."""
        self._upgrade: Upgrade | None = None
        self._grants = False

    def negotiate(self, upgrade: Upgrade, *, grants: bool) -> None:
        """Have ``upgrade`` called when TLS begins in both streams, and go on inside of it.

        ``grants``: the backend is not asked whether it agrees, nor told. Called before the
        first byte; nothing passes unseen until TLS has begun, or can't begin any more.
        """
        self._upgrade, self._grants = upgrade, grants
        self._codec.upgrades = True
        self._arm()

    # What control does, at any time.

    def put(self, rule: Rule, position: int) -> None:
        """Arm ``rule``, or exchange the one of its name; it counts for exchanges to come."""
        names = self.names()
        if rule.name in names:
            self._rules[names.index(rule.name)] = rule
            return
        self._rules.insert(position, rule)
        if not self._armed and not self.opaque:
            self._arm()

    def take(self, name: str) -> None:
        """Disarm the rule ``name``, if it is here. What it has begun is brought to an end."""
        self._rules = [rule for rule in self._rules if rule.name != name]
        now = self._relay.clock.now()
        for turn in list(self._turns.values()):
            if turn.rule is not None and turn.rule.name == name and turn.reaction is not None:
                if turn.timer is not None:
                    turn.timer.cancel()
                self._run(turn, turn.reaction.removed(now), now)
                if self._connection.closed:
                    return
        self._settle(now)

    @property
    def protocol(self) -> str:
        return self._codec.name

    def names(self) -> list[str]:
        """The faults that are armed, in the order in which they are asked."""
        return [rule.name for rule in self._rules]

    def full(self) -> bool:
        """It holds as much as it wants to."""
        if not self._turns and not self._waiting:
            return False
        waiting = sum(len(item[1].data) for item in self._waiting if isinstance(item, tuple))
        return waiting + sum(turn.held for turn in self._turns.values()) >= HELD_LIMIT

    def close(self) -> None:
        """The connection is gone."""
        for turn in self._turns.values():
            turn.close(LOST)
        self._turns.clear()
        self._waiting.clear()
        self._rules.clear()

    # What the links do.

    def received(self, stream: str, chunk: Chunk, now: float) -> None:
        """A chunk has come."""
        if self.opaque:
            self._link(stream).put_in(chunk, now)
            return
        if self._armed:
            offset = chunk.offset - self._codec.holds(stream)
            for piece in self._understood(stream, chunk.data):
                self._piece(stream, piece, offset, now)
                offset += len(piece.data)
                if self._connection.closed:
                    return
        else:
            self._link(stream).put_in(chunk, now)
            self._note(stream, self._understood(stream, chunk.data))
        if self._why or self._codec.opaque:
            self._give_up(self._why or self._codec.opaque, now)
        if self._codec.upgrading and stream == UPSTREAM:
            # There is no reply to wait for, and TLS must not come before what announces it.
            self._flush_up(now, past_toxics=True)
        if self._armed:
            self._settle(now)
        if self._codec.upgrading and not self._connection.closed:
            self._turn_to_tls()

    def _turn_to_tls(self) -> None:
        assert self._upgrade is not None
        begun = {
            stream: b"".join(piece.data for piece in self._codec.eof(stream))
            for stream in (UPSTREAM, DOWNSTREAM)
        }
        self._codec.upgraded()
        self._upgrade(begun)

    def _understood(self, stream: str, data: bytes) -> Iterator[Piece]:
        """The codec's pieces, up to where it fails; ``_why`` has the reason then."""
        try:
            yield from self._codec.receive(stream, data)
        except ProtocolError as error:
            self._why = f"protocol error: {error}"
        except Exception:
            logger.exception("the codec of %s failed", self._codec.name)
            self._why = "the codec failed"

    def ended(self, stream: str, eof: Eof, now: float) -> None:
        """A stream has ended."""
        if not self._armed or self.opaque:
            self._link(stream).put_in(eof, now)
            return
        offset = eof.offset - self._codec.holds(stream)
        try:
            for piece in self._codec.eof(stream):
                self._piece(stream, piece, offset, now)
                offset += len(piece.data)
                if self._connection.closed:
                    return
        except ProtocolError:
            self._release(stream)
        if stream == DOWNSTREAM:
            self._eof = eof
        elif self._blocker is not None and self._blocker.late:
            self._waiting.append(eof)
        else:
            # Of one that hangs for good, too: a client that gives up is seen to do so.
            self._flush(now)
            self._connection.up.put_in(eof, now)
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

    def _arm(self) -> None:
        self._armed = self._codec.detail = True
        for stream in self._gone:
            self._gone[stream] = self._codec.holds(stream)
        self._cut = self._cut or self._gone[DOWNSTREAM] > 0
        self._cut_by = None
        if self._last is not None and not self._last.answered:
            # All before it come before it: the others need no turn of their own.
            turn = self._turns[self._last] = Turn(self._last, 0)
            turn.requested = True
        self._last = None

    def _disarm(self) -> None:
        if self._turns:
            self._last = next(reversed(self._turns))
        self._turns.clear()
        for stream in self._gone:
            self._release(stream)
        self._armed = self._codec.detail = False

    def _release(self, stream: str) -> None:
        """Pass on what the codec holds."""
        held = self._codec.held(stream)[self._gone[stream] :]
        self._gone[stream] = 0
        if not held:
            return
        if stream == UPSTREAM:
            self._to_server(held, self._connection.up.received - len(held))
        else:
            self._outbox[DOWNSTREAM].append(held)

    # While something is.

    def _piece(self, stream: str, piece: Piece, offset: int, now: float) -> None:
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
        turn = None if exchange is None else self._turns.get(exchange)
        if exchange is not None and turn is None and piece.first:
            turn = self._turn(exchange, offset, pristine)
            if self._grants and piece.last and turn.rule is None:
                self._grant(turn)
        if turn is not None:
            turn.end = offset + len(piece.data)
        if self._blocker is None:
            self._ask(turn, piece, offset, now)
        elif self._blocker.late:
            self._waiting.append((turn, piece, offset))

    def _grant(self, turn: Turn) -> None:
        """The backend never hears of it where this asks for TLS."""
        reply = self._codec.grant(turn.exchange)
        if reply:
            turn.reaction = Answer(reply)
            # The client counts other bytes than come from the backend.
            self._connection.down.intact = False

    def _ask(self, turn: Turn | None, piece: Piece, offset: int, now: float) -> None:
        if turn is not None and piece.last:
            turn.requested = True
            turn.answered = turn.answered or not turn.exchange.replies
        if turn is None or turn.reaction is None:
            self._to_server(piece.data, offset)
        else:
            self._run(turn, turn.reaction.request(piece, now), now)

    def _replied(self, piece: Piece, pristine: bool, now: float) -> None:
        exchange = piece.exchange
        turn = None if exchange is None else self._turns.get(exchange)
        if turn is None and exchange is not None and not exchange.number and piece.first:
            turn = self._turn(exchange, 0, pristine)
        self._cut, self._cut_by = piece.cut, turn
        if turn is None:
            self._outbox[DOWNSTREAM].append(piece.data)
            return
        if turn.replied is None:
            turn.replied = now
        if turn.reaction is not None:
            self._run(turn, turn.reaction.reply(piece, now), now)
        else:
            turn.answered = turn.answered or piece.last
            if self._codec.ordered and turn is next(iter(self._turns.values())) and not turn.out:
                # The same, sooner: nearly all replies go this way.
                self._outbox[DOWNSTREAM].append(piece.data)
                if not turn.over:
                    return
                del self._turns[turn.exchange]
                if not self._turns:
                    return
            else:
                turn.out.append(piece.data)
        self._advance(now)

    def _turn(self, exchange: Exchange, offset: int, pristine: bool) -> Turn:
        """The exchange's, with the reaction of the first fault that affects it."""
        turn = self._turns[exchange] = Turn(exchange, offset)
        if not pristine:
            return turn
        self._perturb(turn, exchange)
        return turn

    def _perturb(self, turn: Turn, exchange: Exchange) -> None:
        for rule in self._rules:
            assert isinstance(rule.toxic, Fault)
            if not rule.concerns(exchange):
                continue
            chance = self._connection.chance(rule, exchange.number)
            # Those behind the first one count, too, so that they don't depend on it.
            if not rule.occurs(chance, free=turn.rule is None):
                continue
            turn.rule, turn.chance = rule, chance
            turn.rng = self._connection.rng(rule, exchange.number)
            turn.reaction = rule.toxic.reaction(exchange, turn.rng)
            if turn.reaction.swallows and exchange.number:
                self._codec.skip(exchange)

    def _run(self, turn: Turn, commands: Commands, now: float) -> None:
        """Carry out what the turn's reaction wants."""
        assert turn.reaction is not None
        for command in commands:
            match command:
                case ToServer(data):
                    self._to_server(data, turn.offset + turn.sent)
                    turn.sent += len(data)
                case ToClient(data):
                    if data:
                        turn.out.append(data)
                case Answered():
                    turn.answered = True
                case Wake(at):
                    if turn.timer is not None:
                        turn.timer.cancel()
                    turn.timer = self._relay.timers.at(at, lambda: self._due(turn))
                case Began():
                    self._begin(turn)
                case Close() | Reset():
                    turn.out.append(command)
                    self._ending = True
        if turn.reaction.blocks:
            self._blocker = turn
        elif self._blocker is turn:
            self._blocker = None
            self._catch_up(now)

    def _catch_up(self, now: float) -> None:
        while self._waiting and self._blocker is None:
            item = self._waiting.popleft()
            if isinstance(item, Eof):
                self._flush(now)
                self._connection.up.put_in(item, now)
            else:
                self._ask(*item, now)

    def _begin(self, turn: Turn) -> None:
        if turn.perturbation is None and turn.rule is not None:
            turn.perturbation = self._connection.began(
                turn.rule.name,
                turn.rule.type,
                stream=UPSTREAM,
                offset=turn.offset,
                since=None,
                chance=turn.chance,
                exchange=turn.exchange,
                trace=turn.exchange.trace,
            )
            turn.looking = turn.perturbation.wait(lambda: self._looked(turn))
            if turn.reaction is not None and turn.reaction.outcome != PASSED:
                # The client counts other bytes than came from the backend.
                self._connection.down.intact = False

    def _looked(self, turn: Turn) -> None:
        turn.looking = False
        self._guarded(self._settle)

    def _due(self, turn: Turn) -> None:
        def due(now: float) -> None:
            turn.timer = None
            if turn.reaction is not None:
                self._run(turn, turn.reaction.due(now), now)
                self._settle(now)

        self._guarded(due)

    def _guarded(self, act: Callable[[float], None]) -> None:
        if self._connection.closed:
            return
        try:
            act(self._relay.clock.now())
        except Exception:
            logger.exception("a fault failed, its connection is reset")
            self._connection.abort()

    # What comes out.

    def _settle(self, now: float) -> None:
        """Let everything out whose turn it is, and see what that leaves."""
        if self._connection.closed:
            return
        self._advance(now)
        if self._connection.closed:
            return
        if self._armed and not self._rules and not self._codec.upgrades and self._idle:
            self._disarm()
        self._flush(now)
        head = next(iter(self._turns.values()), None)
        if (
            self._eof is not None
            and not self._done
            and not (head is not None and (head.late or head.looking))
        ):
            eof, self._eof = self._eof, None
            self._connection.down.put_in(eof, now)
        if not self._connection.closed:
            self._connection.up.resume()
            self._connection.down.resume()

    @property
    def _idle(self) -> bool:
        """Nothing is under way that a fault has begun."""
        if self._blocker is not None or self._eof is not None or self._ending:
            return False
        return not any(turn.reaction or turn.out for turn in self._turns.values())

    def _advance(self, now: float) -> None:
        if self._codec.ordered:
            while self._turns and self._let_out(next(iter(self._turns.values())), now):
                pass
            return
        for turn in list(self._turns.values()):
            self._let_out(turn, now)

    def _let_out(self, turn: Turn, now: float) -> bool:
        """It is the turn's turn; whether it is over."""
        self._deliver(turn, now)
        if not turn.over or self._connection.closed:
            return False
        del self._turns[turn.exchange]
        turn.close()
        return True

    def _deliver(self, turn: Turn, now: float) -> None:
        if self._done or turn.looking or not turn.out:
            return
        if self._cut and self._cut_by is not turn:
            return
        out, turn.out = turn.out, []
        for item in out:
            if isinstance(item, bytes):
                self._outbox[DOWNSTREAM].append(item)
                turn.delivered += len(item)
                continue
            self._flush(now)
            turn.close()
            if isinstance(item, Reset):
                self._connection.abort()
            else:
                self._done = True
                self._connection.down.end(now)
            return

    def _to_server(self, data: bytes, offset: int) -> None:
        outbox = self._outbox[UPSTREAM]
        if outbox and self._outbox_at + sum(map(len, outbox)) != offset:
            self._flush_up(self._relay.clock.now())
            outbox = self._outbox[UPSTREAM]
        if not outbox:
            self._outbox_at = offset
        if data:
            outbox.append(data)

    def _flush(self, now: float) -> None:
        """Hand over what has been let out, in as few chunks as that takes."""
        self._flush_up(now)
        outbox = self._outbox[DOWNSTREAM]
        if outbox and not self._done and not self._connection.closed:
            self._outbox[DOWNSTREAM] = []
            down = self._connection.down
            down.put_in(Chunk(b"".join(outbox), down.received), now)

    def _flush_up(self, now: float, past_toxics: bool = False) -> None:
        outbox = self._outbox[UPSTREAM]
        if outbox and not self._connection.closed:
            self._outbox[UPSTREAM] = []
            chunk = Chunk(b"".join(outbox), self._outbox_at)
            if past_toxics:
                self._connection.up.put_out(chunk)
            else:
                self._connection.up.put_in(chunk, now)

    def _give_up(self, why: str, now: float) -> None:
        """The codec understands no more: everything goes on as it comes."""
        self.opaque = why
        self._said_opaque(why)
        if not self._armed:
            return
        self._armed = False
        if any(
            turn.reaction is not None and turn.reaction.swallows and not turn.requested
            for turn in self._turns.values()
        ):
            # The server has not got the beginning of what follows.
            self._connection.abort()
            return
        self._cut = False
        for turn in list(self._turns.values()):
            if turn.reaction is not None and not turn.answered:
                self._run(turn, turn.reaction.removed(now), now)
            self._deliver(turn, now)
            if self._connection.closed:
                return
            turn.close("" if turn.answered else LOST)
        self._blocker = None
        self._catch_up(now)
        self._turns.clear()
        for stream in self._gone:
            self._release(stream)
        self._flush(now)

    def _link(self, stream: str) -> Link:
        return self._connection.up if stream == UPSTREAM else self._connection.down
