"""One direction of one connection.

A link without toxics takes the fast path, which is its pump's; the callback is exchanged
when the first toxic comes and when the last one goes. With toxics, what is read goes
through the chain of their stages, and what comes out of it is sent.

Either way memory is bounded: what could not be sent stops the reading until it is
out, and so do stages that hold much. The end of a stream, and its reset, are passed
on as they are.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from seism.proxy.end import Socket
from seism.proxy.gate import Gate
from seism.proxy.live import Traffic
from seism.proxy.pump import Pump
from seism.proxy.relay import Relay
from seism.proxy.rule import Rule
from seism.proxy.slot import Slot
from seism.proxy.trace import trace_of
from seism.toxics.base import (
    CHANGED,
    LOST,
    PASSED,
    REMOVED,
    Began,
    Chunk,
    Close,
    Commands,
    Ended,
    Eof,
    Forward,
    Reset,
    Stage,
    Wake,
)
from seism_middleware.contract import UPSTREAM

if TYPE_CHECKING:
    from seism.proxy.connection import Connection
    from seism.proxy.conversation import Conversation

logger = logging.getLogger(__name__)

HELD_LIMIT = 4 * 1024 * 1024
"""Bytes that the stages of one link may hold before it stops reading."""

_WRITE = 2


class _Gone:
    """What a link has instead of its connection once that is closed."""

    closed = True
    broken = False

    def proceed(self) -> None: ...

    def abort(self) -> None: ...


_GONE: Any = _Gone()


class Link(Pump):
    """Moves bytes from one socket of its connection to the other."""

    __slots__ = (
        "_backlog",
        "_backlog_eof",
        "_chunk",
        "_closes",
        "_connection",
        "_fd",
        "_held",
        "_relay",
        "_sink",
        "_slots",
        "_source",
        "_watch",
        "_writer",
        "conversation",
        "finished",
        "intact",
        "read_all",
        "reading",
        "stream",
        "withheld",
    )

    plain: ClassVar[bool] = True
    """Whether bytes may go from socket to socket as they are."""

    other: Link
    """The other direction of the connection."""

    def __init__(self, connection: Connection, stream: str, relay: Relay) -> None:
        super().__init__()
        self.stream = stream
        self.withheld = 0
        """Bytes received that the toxics hold or have lost, or that were given up unsent."""
        self.read_all = False
        """The sender's end of stream has been read."""
        self.finished = False
        """Nothing more will be sent: the end has been passed on, or the receiver is gone."""
        self.intact = True
        """All that was received comes out, or will, as it is."""
        self._connection = connection
        self._relay = relay
        self._slots: list[Slot] = []
        self._backlog: deque[memoryview] | None = None
        """What the receiver does not take yet; None for nothing, as it mostly is."""
        self._backlog_eof = False
        self._closes = False
        self._chunk: Chunk | None = None
        """The last one that came, where it goes through a chain."""
        self._held: deque[tuple[Slot, Commands]] | None = None
        """While an observer looks who is hit: what is to be done once it has."""
        self._watch: Callable[[bytes], None] | None = None
        self._source: Any = None
        self._sink: Any = None
        """The receiver's socket; None as long as the backend has not been reached."""
        self._fd = -1
        """The sender's socket, once it is listened to."""
        self.reading = False
        """Whether this link will notice what its sender does next."""
        self._writer: Any = None
        self.conversation: Conversation | None = None
        """What stands before the chain, where the protocol is known."""

    def open(self, source: Socket, sink: Socket) -> None:
        """Start relaying; the connection still owns both sockets."""
        if self.plain:
            self.wire(source, sink)
        self._sink = sink
        if self._fd < 0:
            self.listen(source)
        else:
            self._choose()
        if self._backlog:
            self._write_on()
        elif self._backlog_eof:
            self._finish()

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
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
        self._writer = self._watch = self.conversation = self._chunk = self._held = None
        if self._backlog:
            self._forget_backlog()
        if self._slots:
            for slot in self._slots:
                slot.close(outcome)
            self._slots.clear()
        # What refers to nothing that refers to it is no work for the collector.
        self._connection = _GONE
        self.unwire()

    # What control does, at any time.

    def put(self, rule: Rule, position: int) -> None:
        """Put a stage for ``rule`` at ``position`` in the chain, or bring its stage up to date."""
        self.release()
        slot = self._slot(rule.name)
        now = self._relay.clock.now()
        if slot is not None:
            slot.rule = rule
            commands = slot.stage.updated(rule.toxic, now)
        elif self.read_all and not self._slots:
            return  # nothing will ever reach it
        else:
            slot = Slot(rule, self._connection.rng(rule))
            if rule.turn:
                slot.stage = self._gate(slot.stage, rule)
            self._slots.insert(position, slot)
            self._choose()
            commands = slot.stage.started(now)
        self._run(slot, commands, now)
        self._regulate()

    def _gate(self, stage: Stage, rule: Rule) -> Gate:
        client = self if self.stream == UPSTREAM else self.other
        gate = Gate(stage, rule.turn, rule.turns, lambda: client.since)
        if client.received and not (self.stream == UPSTREAM and client.answered):
            gate.skip(client.since)
        return gate

    def take(self, name: str) -> None:
        """Remove the stage of the rule ``name``, if this link has one."""
        self.release()
        slot = self._slot(name)
        if slot is None:
            return
        now = self._relay.clock.now()
        self._run(slot, slot.stage.removed(now), now)
        if self._connection.closed:
            return
        slot.close(REMOVED)
        self._slots.remove(slot)
        self._choose()
        self._regulate()

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
        return bool(self._slots) and any(slot.stage.holds_dial for slot in self._slots)

    def connected(self) -> None:
        """Let go of the stages that act while a connection is made only."""
        if self._slots:
            for slot in [slot for slot in self._slots if slot.rule.toxic.connecting]:
                slot.close(PASSED)
                self._slots.remove(slot)
            self._choose()

    def names(self) -> list[str]:
        """The rules that have a stage here, in the chain's order."""
        return [slot.rule.name for slot in self._slots]

    def _slot(self, name: str) -> Slot | None:
        return next((slot for slot in self._slots if slot.rule.name == name), None)

    def _choose(self) -> None:
        armed = self._slots or self._watch is not None or self._sink is None
        armed = armed or not self.plain or self.conversation is not None
        self.route(self._through_chain if armed else None, self.stream == UPSTREAM)

    # The armed path.

    def _through_chain(self) -> None:
        try:
            buffer = self._relay.small
            size = self._source.recv_into(buffer)
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
                if self._connection.closed:
                    return
            self.received += size
            self.withheld += size
            self._chunk = chunk
            self._arrived(chunk, self._relay.clock.now())
            self._regulate()
        except Exception as error:
            self._failed(error)

    def _arrived(self, chunk: Chunk, now: float) -> None:
        if self.conversation is None:
            self._pass(0, chunk, now)
        else:
            self.conversation.received(self.stream, chunk, now)

    def put_in(self, item: Chunk | Eof, now: float) -> None:
        """What the conversation lets through, or makes itself, goes to the chain."""
        self._pass(0, item, now)

    def end(self, now: float) -> None:
        """Once the receiver has all that came before, the connection ends with FIN."""
        self._stop_reading()
        self._pass(0, Eof(self.received, closes=True), now)

    def resume(self) -> None:
        """There may be room again, or none any more."""
        self._regulate()

    def _pass(self, position: int, item: Chunk | Eof, now: float) -> None:
        """Give ``item`` to the stage at ``position``, or send it if that is the end."""
        if self.finished:
            return
        if position == len(self._slots):
            self.put_out(item)
            return
        slot = self._slots[position]
        if isinstance(item, Chunk):
            slot.reached = self._client_offset(item.end)
            self._run(slot, slot.stage.data(item, now), now)
            if self.stream != UPSTREAM and self.intact and not self._connection.closed:
                # What has been said by now answers nothing that the client says later.
                slot.noted(self.other.received, item.end)
        else:
            self._run(slot, slot.stage.eof(item, now), now)

    def _run(self, slot: Slot, commands: Commands, now: float) -> None:
        """Carry out what the stage in ``slot`` wants."""
        commands = iter(commands)
        for command in commands:
            if self._held is not None:
                self._held.append((slot, chain((command,), commands)))
                return
            match command:
                case Forward(item):
                    if isinstance(item, Eof) and item.closes:
                        self._stop_reading()
                    self._pass(self._slots.index(slot) + 1, item, now)
                case Wake(at):
                    slot.wake(self._relay.timers, at, self._due)
                case Began(offset):
                    self._began(slot, self.received if offset is None else offset)
                case Ended(outcome):
                    if outcome in (CHANGED, LOST):
                        # The client counts other bytes than came from the backend.
                        self.intact = False
                        slot.forget()
                    slot.end(outcome)
                case Close():
                    self._connection.close()
                case Reset():
                    self._connection.abort()
            if self._connection.closed:
                return

    def _due(self, slot: Slot) -> None:
        if self._held is not None:
            self._held.append((slot, self._overdue(slot)))
            return
        try:
            now = self._relay.clock.now()
            self._run(slot, slot.stage.due(now), now)
            self._regulate()
        except Exception as error:
            self._failed(error)

    def _overdue(self, slot: Slot) -> Commands:
        yield from slot.stage.due(self._relay.clock.now())

    def release(self) -> None:
        """Go on with what was held, if anything is; the order is what it would have been."""
        held, self._held = self._held, None
        if held is None or self._connection.closed:
            return
        try:
            now = self._relay.clock.now()
            while held and not self._connection.closed:
                if self._held is not None:  # the next one is looked for
                    self._held.extend(held)
                    return
                slot, commands = held.popleft()
                self._run(slot, commands, now)
            if not self._connection.closed:
                self._regulate()
        except Exception as error:
            self._failed(error)

    def _began(self, slot: Slot, offset: int) -> None:
        upstream = self.stream == UPSTREAM
        client = self if upstream else self.other
        position = offset if upstream else client.received
        slot.reached = max(slot.reached, position)
        slot.end(LOST)  # of a stage that began twice
        chunk = self._chunk
        told = upstream and chunk is not None and chunk.offset <= offset < chunk.end
        slot.perturbation = self._connection.began(
            slot.rule.name,
            slot.rule.type,
            stream=self.stream,
            offset=position,
            since=None if upstream else client.since,
            chance=self._connection.chance(slot.rule),
            trace=trace_of(chunk.data) if told and chunk is not None else "",
        )
        if slot.perturbation.wait(self.release):
            self._held = deque()

    def _client_offset(self, offset: int) -> int:
        """Where in the client's stream one is, at ``offset`` of this link's."""
        return offset if self.stream == UPSTREAM else self.other.received

    # What comes out of either path.

    def put_out(self, item: Chunk | Eof) -> None:
        """Send what comes from the end of the chain."""
        if isinstance(item, Eof):
            self._closes |= item.closes
            self._pass_end()
            return
        self.withheld -= len(item.data)
        if self.stream == UPSTREAM and self.other.intact:
            for slot in self._slots:
                slot.noted(item.offset, self.other.received)
        if self._backlog:
            self._backlog.append(memoryview(item.data))
        else:
            self._send_now(item.data)

    def _send_now(self, data: bytes) -> None:
        if self._sink is None:
            self._keep(data)
            return
        try:
            sent = self._sink.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._receiver_gone()
            return
        if sent != len(data):
            self._keep(data, sent)

    def _keep(self, data: bytes, sent: int = 0) -> None:
        """Keep what the receiver does not take yet, and stop reading until it does."""
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(memoryview(data)[sent:])
        if self._sink is not None:
            self._write_on()
        self._regulate()

    def _write_on(self) -> None:
        if self._writer is None:
            self._writer = self._relay.loop.io(self._sink.fileno(), _WRITE)
        self._writer.start(self._writable)

    def _writable(self) -> None:
        try:
            while self._backlog:
                data = self._backlog[0]
                try:
                    sent = self._sink.send(data)
                except BlockingIOError:
                    return
                except OSError:
                    self._receiver_gone()
                    return
                if sent != len(data):
                    self._backlog[0] = data[sent:]
                    return
                self._backlog.popleft()
            self._backlog = None
            self._writer.stop()
            if self._backlog_eof:
                self._finish()
            else:
                self._regulate()
        except Exception as error:
            self._failed(error)

    def _regulate(self) -> None:
        """Read if, and only if, there is room for what would be read."""
        if self._sink is None:
            self._connection.proceed()
        if self._fd < 0 or self.read_all or self.finished:
            return
        if self._backlog or self._full():
            self._pause()
        elif not self.reading:
            self.reading = True
            self._relay.poller.start(self._fd, self)

    def _pause(self) -> None:
        if self.reading:
            self.reading = False
            self._relay.poller.stop(self._fd)

    def _full(self) -> bool:
        if self.conversation is not None and self.conversation.full():
            return True
        return (
            self._held is not None
            or any(slot.stage.full for slot in self._slots)
            or sum(slot.stage.held for slot in self._slots) >= HELD_LIMIT
        )

    # Ends.

    def _stop_reading(self) -> None:
        self.read_all = True
        self._pause()

    def _read_end(self) -> None:
        self.read_all = True
        if self.conversation is not None:
            self.conversation.ended(self.stream, Eof(self.received), self._relay.clock.now())
        elif self._slots:
            self._pass(0, Eof(self.received), self._relay.clock.now())
        else:
            self._pass_end()
        if self.reading:  # else the connection is closed by now
            self._pause()

    def _pass_end(self) -> None:
        if self._backlog or self._sink is None:
            self._backlog_eof = True
        else:
            self._finish()

    def _finish(self) -> None:
        self.finished = True
        if self._connection.broken:
            self._connection.abort()
            return
        if self._closes:
            self._connection.close()
            return
        if self.other.finished and self.read_all and self.other.read_all:
            self._connection.finish()
            return
        try:
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the receiver is gone; its own direction says how
        if self.other.finished:
            self._connection.close()

    def _receiver_gone(self) -> None:
        """The receiver's side is broken: what it had sent before still goes its way."""
        self.finished = self.read_all = True
        self._forget_backlog()
        for slot in self._slots:
            slot.end(LOST)
        self._pause()
        if self._writer is not None:
            self._writer.stop()
        self._connection.broken = True
        if not self.other.reading:
            self._connection.abort()

    def _forget_backlog(self) -> None:
        if self._backlog:
            self.withheld += sum(map(len, self._backlog))
        self._backlog = None

    @property
    def sent(self) -> int:
        """Bytes that the receiver's side has taken; so the fast path has one counter only."""
        waiting = sum(map(len, self._backlog)) if self._backlog else 0
        return self.received - self.withheld - waiting

    @property
    def traffic(self) -> Traffic:
        """The bytes so far."""
        return Traffic(self.received, self.sent)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, BlockingIOError | InterruptedError):
            return
        if not isinstance(error, OSError):
            logger.error("a link failed", exc_info=error)
        self._connection.abort()
