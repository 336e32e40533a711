"""The stages that one link's bytes go through, in the toxics' order.

What a stage forwards is given to the next one, and what the last one forwards leaves the
chain. A chain knows neither sockets nor the connection: what it needs of them, its link does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any, NoReturn, Protocol

from seism.proxy.installed_toxic import InstalledToxic
from seism.proxy.perturbation import Perturbation
from seism.proxy.pump import Pump
from seism.proxy.relay import Relay
from seism.proxy.timers import Timer, Timers
from seism.rng import Journalled
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
    Farewell,
    Forward,
    Mute,
    Reset,
    Session,
    Stage,
    Wake,
)
from seism_middleware.contract import UPSTREAM

HELD_LIMIT = 4 * 1024 * 1024
"""Bytes that the stages of one link may hold before it stops reading."""

MAX_ORDER = 64
"""Pairs of question and reply reported per perturbation; fewer only reduce precision."""


class ChainLink(Session, Protocol):
    """What a chain asks of its link."""

    stream: str

    @property
    def finished(self) -> bool:
        """Nothing more will be sent, so nothing need go through the chain."""

    @property
    def replies_intact(self) -> bool:
        """All that the backend says reaches the client unchanged."""

    def replies_altered(self) -> None:
        """The client counts other bytes from now on than come from the backend."""

    def leave_chain(self, item: Chunk | Eof) -> None:
        """Send what has been through all stages."""

    def stop_reading(self) -> None:
        """Nothing more is read from the sender."""

    def farewell(self, data: bytes) -> None:
        """The client gets ``data`` and the end of the stream."""

    def mute(self) -> None:
        """The client gets nothing more."""

    def regulate(self) -> None:
        """The chain holds more, or less."""

    def began(self, installed: InstalledToxic, offset: int, chunk: Chunk | None) -> Perturbation:
        """A toxic takes effect at ``offset`` of the client's stream, by ``chunk`` if that is
        the client's."""

    def end_with_fin(self) -> NoReturn:
        """End the connection."""

    def end_with_reset(self) -> NoReturn:
        """End the connection."""

    def failed(self, error: Exception) -> None:
        """An exception has reached the event loop."""


class Chain:
    """Stages in order; it is made with the first of them."""

    __slots__ = ("_chunk", "_client", "_link", "_paused", "_pump", "_relay", "_slots", "_upstream")

    def __init__(self, link: ChainLink, pump: Pump, relay: Relay) -> None:
        """``pump`` has the byte counts of ``link``, ``pump.other`` those of its other direction."""
        self._link = link
        self._pump = pump
        self._relay = relay
        self._upstream = link.stream == UPSTREAM
        self._client = pump if self._upstream else pump.other
        self._slots: list[Slot] = []
        self._chunk: Chunk | None = None
        """The latest one that came."""
        self._paused: deque[tuple[Slot, Commands]] | None = None
        """While an observer identifies the affected request: what is to be done after that."""

    def close(self, outcome: str) -> None:
        """The connection is gone; ``outcome`` is for perturbations still open."""
        for slot in self._slots:
            slot.close(outcome)
        self._slots.clear()
        self._paused = self._chunk = None
        # Without circular references, the garbage collector has nothing to do.
        del self._link, self._pump, self._client

    # What control does, at any time.

    def arm(self, installed: InstalledToxic, position: int, rng: Callable[[], Journalled]) -> None:
        """Put its stage at ``position``, or bring the stage up to date."""
        if self.outlasts:
            return  # it is dead already
        self._resume()
        slot = self._slot(installed.name)
        now = self._relay.clock.now()
        if slot is not None:
            slot.installed = installed
            commands = slot.stage.updated(installed.toxic, now)
        else:
            slot = Slot(installed, rng(), self._link)
            if installed.spec.turn:
                slot.stage = self._gate(slot.stage, installed)
            self._slots.insert(position, slot)
            commands = slot.stage.started(now)
        self._execute(slot, commands, now)

    def _gate(self, stage: Stage, installed: InstalledToxic) -> TurnGate:
        client = self._client
        turns = installed.history.turns
        alone = installed.toxic.delays
        gate = TurnGate(stage, installed.spec.turn, turns, lambda: client.since, alone=alone)
        if client.received and not (self._upstream and client.answered):
            gate.skip(client.since)
        return gate

    def disarm(self, name: str) -> None:
        """Remove the stage of the toxic ``name``, if there is one."""
        self._resume()
        slot = self._slot(name)
        if slot is not None:
            now = self._relay.clock.now()
            self._execute(slot, slot.stage.removed(now), now)
            if slot.stage.outlasts:
                slot.left = True
                return
            slot.close(REMOVED)
            self._slots.remove(slot)

    @property
    def outlasts(self) -> bool:
        """Whether a stage acts on though its toxic has been removed, or has done its work."""
        return any(slot.left for slot in self._slots)

    def connected(self) -> None:
        """Let go of the stages that only act while a connection is made."""
        for slot in [slot for slot in self._slots if slot.installed.toxic.connecting]:
            slot.close(PASSED)
            self._slots.remove(slot)

    @property
    def holds_dial(self) -> bool:
        """Whether a stage keeps the backend from being dialled."""
        return any(slot.stage.holds_dial for slot in self._slots)

    @property
    def full(self) -> bool:
        """Whether it wants nothing more for now."""
        return (
            self._paused is not None
            or any(slot.stage.full for slot in self._slots)
            or self.held >= HELD_LIMIT
        )

    @property
    def held(self) -> int:
        """Bytes of memory that the stages hold."""
        return sum(slot.stage.held for slot in self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    def names(self) -> list[str]:
        """The toxics that have a stage here, in order."""
        return [slot.installed.name for slot in self._slots if not slot.left]

    def _slot(self, name: str) -> Slot | None:
        slots = (slot for slot in self._slots if not slot.left)
        return next((slot for slot in slots if slot.installed.name == name), None)

    # What goes through.

    def arrived(self, chunk: Chunk) -> None:
        """``chunk`` has been read, and whatever of it goes through comes next."""
        self._chunk = chunk

    def enter(self, item: Chunk | Eof, now: float) -> None:
        """Give ``item`` to the first stage."""
        self._give(0, item, now)

    def receiver_gone(self) -> None:
        """What the stages have done reaches nobody."""
        for slot in self._slots:
            slot.end(LOST)

    def _give(self, position: int, item: Chunk | Eof, now: float) -> None:
        """Give ``item`` to the stage at ``position``, or let it leave after the last one."""
        if self._link.finished:
            return
        if position == len(self._slots):
            self._leave(item)
            return
        slot = self._slots[position]
        if isinstance(item, Eof):
            self._execute(slot, slot.stage.eof(item, now), now)
            return
        slot.reached = item.end if self._upstream else self._client.received
        self._execute(slot, slot.stage.data(item, now), now)
        if not self._upstream and self._link.replies_intact:
            # Replies so far answer nothing that the client sends later.
            slot.note_order(self._client.received, item.end)

    def _leave(self, item: Chunk | Eof) -> None:
        if isinstance(item, Chunk):
            self.note_sent(item.offset)
        self._link.leave_chain(item)

    def note_sent(self, offset: int) -> None:
        """The client's bytes from ``offset`` on go to the backend now."""
        if self._upstream and self._link.replies_intact:
            for slot in self._slots:
                slot.note_order(offset, self._pump.other.received)

    def _execute(self, slot: Slot, commands: Commands, now: float) -> None:
        """Carry out what the stage in ``slot`` wants."""
        commands = iter(commands)
        for command in commands:
            if self._paused is not None:
                self._paused.append((slot, chain((command,), commands)))
                return
            match command:
                case Forward(item):
                    if isinstance(item, Eof) and item.closes:
                        self._link.stop_reading()
                    self._give(self._slots.index(slot) + 1, item, now)
                case Wake(at):
                    slot.wake(self._relay.timers, at, self._due)
                case Began(offset):
                    self._began(slot, self._pump.received if offset is None else offset)
                case Ended(outcome):
                    if outcome in (CHANGED, LOST):
                        if not self._upstream:
                            self._link.replies_altered()
                        slot.forget_order()
                    slot.end(outcome)
                case Close():
                    self._link.end_with_fin()
                case Reset():
                    self._link.end_with_reset()
                case Farewell(data):
                    slot.left = True
                    self._link.farewell(data)
                case Mute():
                    slot.left = True
                    self._link.mute()

    def _began(self, slot: Slot, offset: int) -> None:
        position = offset if self._upstream else self._client.received
        slot.reached = max(slot.reached, position)
        slot.end(LOST)  # of a stage that began twice
        chunk = self._chunk if self._upstream else None
        if chunk is not None and not chunk.offset <= offset < chunk.end:
            chunk = None
        slot.perturbation = self._link.began(slot.installed, position, chunk)
        if slot.perturbation.wait(self._looked):
            self._paused = deque()

    # What the event loop does.

    def _due(self, slot: Slot) -> None:
        link = self._link
        if self._paused is not None:
            self._paused.append((slot, self._overdue(slot)))
            return
        try:
            now = self._relay.clock.now()
            self._execute(slot, slot.stage.due(now), now)
            link.regulate()
        except Exception as error:
            link.failed(error)

    def _overdue(self, slot: Slot) -> Commands:
        yield from slot.stage.due(self._relay.clock.now())

    def _looked(self) -> None:
        """The observer has identified the request, or has had its time."""
        if self._paused is None:
            return
        link = self._link
        try:
            self._resume()
            link.regulate()
        except Exception as error:
            link.failed(error)

    def _resume(self) -> None:
        """Go on with what was paused, if anything is; the order is what it would have been."""
        paused, self._paused = self._paused, None
        if paused is None:
            return
        now = self._relay.clock.now()
        while paused:
            if self._paused is not None:  # the next one is looked for
                self._paused.extend(paused)
                return
            slot, commands = paused.popleft()
            self._execute(slot, commands, now)


class Slot:
    """The place of one stage in the chain, its timer, and its perturbation while there is one."""

    __slots__ = (
        "_order",
        "_rng",
        "_timer",
        "installed",
        "left",
        "perturbation",
        "reached",
        "stage",
    )

    def __init__(self, installed: InstalledToxic, rng: Journalled, session: Session) -> None:
        self.installed = installed
        self._rng = rng
        self.stage: Stage = installed.toxic.stage(rng)
        self.stage.common = installed.history.common
        self.stage.session = session
        self.left = False
        """The toxic has been removed, or has done its work, and the stage outlasts it."""
        self.perturbation: Perturbation | None = None
        self.reached = 0
        """The end, in the client's stream, of what the stage has been given."""
        self._timer: Timer | None = None
        self._order: dict[int, int] = {}

    def note_order(self, asked: int, answers: int) -> None:
        """The client's bytes from ``asked`` on are answered at ``answers`` or later."""
        if self.perturbation is not None and (asked in self._order or len(self._order) < MAX_ORDER):
            self._order[asked] = answers

    def forget_order(self) -> None:
        """Forget the pairs: they no longer hold."""
        self._order = {}

    def wake(self, timers: Timers, when: float, due: Callable[[Slot], None]) -> None:
        """Call ``due`` with this slot at ``when``, and not at the time set before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timers.at(when, lambda: due(self))

    def end(self, outcome: str) -> None:
        """End the perturbation, if there is one."""
        if self.perturbation is not None:
            self.perturbation.end(
                outcome,
                self.reached,
                self._rng.draws,
                self._rng.take(),
                tuple(self._order),
                tuple(self._order.values()),
            )
            self.perturbation = None
            self._order = {}

    def close(self, outcome: str) -> None:
        """The stage is never called again; ``outcome`` is for a perturbation still open."""
        if self._timer is not None:
            self._timer.cancel()
        self.end(outcome)


class TurnGate(Stage):
    """Passes everything on until a turn has come, then is the stage within.

    A turn begins with a client's first bytes after an answer, so that it is one exchange of any
    protocol in which requests wait for their replies. Turns are counted over all connections
    of a proxy since the toxic was added; the connection that has the n-th one is affected from
    there on, and no other is. ``alone``: in that turn only, as far as nothing is held any more.
    """

    def __init__(
        self,
        inner: Stage,
        turn: int,
        turns: list[int],
        start: Callable[[], int],
        *,
        alone: bool = False,
    ) -> None:
        """``turns`` is shared by all connections of a proxy: the offsets at which turns began,
        in order. ``start`` tells where in its stream the client's current turn began.
        """
        self._alone = alone
        self._inner = inner
        self._turn = turn
        self._turns = turns
        self._start = start
        self._seen = -1
        self._open = False

    @property
    def held(self) -> int:  # type: ignore[override]
        return self._inner.held

    @property
    def full(self) -> bool:  # type: ignore[override]
        return self._inner.full

    def skip(self, since: int) -> None:
        """The turn that began at ``since`` had begun before the toxic came."""
        self._seen = since

    def data(self, chunk: Chunk, now: float) -> Commands:
        start = self._start()
        if self._open and self._alone and start != self._seen and not self._inner.held:
            self._open = False
        if not self._open and start != self._seen:
            self._seen = start
            self._turns.append(start)
            if len(self._turns) == self._turn:
                self._open = True
                yield from self._inner.started(now)
        yield from self._inner.data(chunk, now) if self._open else (Forward(chunk),)

    def eof(self, eof: Eof, now: float) -> Commands:
        return self._inner.eof(eof, now) if self._open else (Forward(eof),)

    def due(self, now: float) -> Commands:
        return self._inner.due(now)

    def updated(self, toxic: Any, now: float) -> Commands:
        return self._inner.updated(toxic, now)

    def removed(self, now: float) -> Commands:
        return self._inner.removed(now) if self._open else ()
