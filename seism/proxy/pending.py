"""The exchanges of one connection that are not over, and what they hold back.

What they hold is counted as it changes, so that asking for it costs the same however many
there are.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from seism.clock import Clock
from seism.protocols.base import Exchange
from seism.protocols.fault import Close, Reaction, Reset
from seism.proxy.installed_toxic import InstalledToxic
from seism.proxy.perturbation import Perturbation
from seism.proxy.timers import Timer, Timers
from seism.rng import Journalled
from seism.toxics.base import LOST
from seism_middleware.contract import UPSTREAM

ITEM_COST = 128
"""Bytes that each piece costs beside its own, so that a flood of tiny ones is bounded, too."""

TURN = 64
"""Exchanges, or held pieces of them, that are brought to an end before the event loop turns."""

SWEEP = 1024
"""How many there are before the first look for some that are answered otherwise."""

Item = bytes | Close | Reset
"""What a client gets: some of a reply, or the end of the connection."""


@dataclass(slots=True)
class HeldBytes:
    """Bytes of memory, by the stream whose bytes fill it.

    An injected reply counts for the client's: more of the server's do not add to it, and may
    be what it waits for.
    """

    upstream: int = 0
    downstream: int = 0

    def count(self, stream: str, size: int) -> None:
        if stream == UPSTREAM:
            self.upstream += size
        else:
            self.downstream += size


@dataclass(slots=True)
class AppliedFault:
    """A fault that acts on one exchange, with its state."""

    reaction: Reaction
    installed: InstalledToxic | None = None
    """None for what the proxy does by itself: it grants TLS."""
    rng: Journalled | None = None
    chance: float | None = None
    perturbation: Perturbation | None = None
    timer: Timer | None = None
    looking: bool = False
    """An observer identifies the request first: its client gets nothing until it has."""
    sent: int = 0
    """Bytes of the request that the reaction has passed on."""
    held: int = 0
    """What the reaction holds, as far as it has been counted."""
    held_of: str = UPSTREAM
    """The stream whose bytes these are."""

    @property
    def late(self) -> bool:
        """The reaction will act by itself, in time."""
        return self.timer is not None and self.timer.active


class PendingExchange:
    """An exchange whose client has not got all that it will get."""

    __slots__ = (
        "_held",
        "answered",
        "delivered",
        "end",
        "exchange",
        "fault",
        "offset",
        "out",
        "replied",
        "requested",
    )

    def __init__(self, exchange: Exchange, offset: int) -> None:
        self.exchange = exchange
        self.offset = self.end = offset
        """Where its request begins in the client's stream, and ends as far as it has come."""
        self.requested = not exchange.number
        """The request is complete; what a server says first has none."""
        self.answered = False
        """The client has, or has coming, all that it will get."""
        self.replied: float | None = None
        """When the server's reply began."""
        self.fault: AppliedFault | None = None
        self.out: list[Item] | None = None
        """What its client gets once all before it have got theirs; None for nothing."""
        self._held: HeldBytes | None = None
        self.delivered = 0
        """Bytes that have gone to the client."""

    @property
    def over(self) -> bool:
        return self.answered and self.requested and self.out is None

    @property
    def looking(self) -> bool:
        return self.fault is not None and self.fault.looking

    @property
    def fault_name(self) -> str:
        """The toxic's; empty if none affects it."""
        installed = None if self.fault is None else self.fault.installed
        return "" if installed is None else installed.name

    @property
    def late(self) -> bool:
        return self.fault is not None and self.fault.late

    def close(self, outcome: str = "") -> None:
        """It is over; ``outcome`` if not by what its reaction has done."""
        fault = self.fault
        if fault is None:
            return
        if fault.timer is not None:
            fault.timer.cancel()
        if fault.perturbation is None or fault.rng is None:
            return
        fault.perturbation.end(
            outcome or fault.reaction.outcome,
            self.end,
            fault.rng.draws,
            fault.rng.take(),
            request_size=self.exchange.request_size,
            reply_size=self.delivered,
            replied=self.replied,
        )


class PendingExchanges:
    """All of them, in the order of their requests."""

    __slots__ = ("_affected", "_all", "_changed", "_ordered", "_queueing", "_sweep_at", "held")

    def __init__(self, ordered: bool) -> None:
        """``ordered``: replies come in the order of the requests."""
        self._ordered = ordered
        # Many may be taken from its front, which costs a plain dict more each time.
        self._all: OrderedDict[Exchange, PendingExchange] = OrderedDict()
        self._changed: OrderedDict[PendingExchange, None] = OrderedDict()
        """Those that may have something to let out, where they need not wait for others."""
        self._affected = 0
        self._queueing = 0
        self._sweep_at = SWEEP
        self.held = HeldBytes()
        """By all of them, and by what waits behind one that blocks."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[PendingExchange]:
        return iter(list(self._all.values()))

    def get(self, exchange: Exchange | None) -> PendingExchange | None:
        return None if exchange is None else self._all.get(exchange)

    def add(self, exchange: Exchange, offset: int) -> PendingExchange:
        if len(self._all) >= self._sweep_at:
            self._sweep()
        pending = self._all[exchange] = PendingExchange(exchange, offset)
        return pending

    def _sweep(self) -> None:
        """Let go of those that are answered otherwise, as what LDAP abandons is."""
        for pending in self:
            idle = pending.fault is None and pending.out is None
            if idle and pending.exchange.answered and pending.requested:
                self.remove(pending)
        self._sweep_at = max(SWEEP, 2 * len(self._all))

    @property
    def head(self) -> PendingExchange | None:
        """The first one."""
        return next(iter(self._all.values()), None)

    @property
    def latest(self) -> PendingExchange | None:
        """The last one."""
        return next(reversed(self._all.values()), None)

    @property
    def untouched(self) -> bool:
        """Nothing is done to any, and nothing waits."""
        return not self._affected and not self._queueing

    def affect(self, pending: PendingExchange, fault: AppliedFault) -> None:
        """Something is done to it."""
        pending.fault = fault
        self._affected += 1

    def queue(self, pending: PendingExchange, item: Item, stream: str) -> None:
        """Its client gets ``item``, which came of bytes of ``stream``."""
        if pending.out is None:
            pending.out, pending._held = [], HeldBytes()
            self._queueing += 1
        pending.out.append(item)
        size = ITEM_COST + (len(item) if isinstance(item, bytes) else 0)
        self.held.count(stream, size)
        if pending._held is not None:
            pending._held.count(stream, size)

    def take_out(self, pending: PendingExchange) -> list[Item]:
        """Empty the queue, and return its items."""
        out, held = pending.out or [], pending._held
        if held is not None:
            self.held.upstream -= held.upstream
            self.held.downstream -= held.downstream
            self._queueing -= 1
        pending.out = pending._held = None
        return out

    def count_reaction(self, pending: PendingExchange, stream: str) -> None:
        """Its reaction may hold more, or less, after it was given bytes of ``stream``."""
        fault = pending.fault
        if fault is None or fault.held == fault.reaction.held:
            return
        if not fault.held:
            fault.held_of = stream
        self.held.count(fault.held_of, fault.reaction.held - fault.held)
        fault.held = fault.reaction.held

    def changed(self, pending: PendingExchange) -> None:
        """It may have something to let out, or be over."""
        if not self._ordered:
            self._changed[pending] = None

    def next_changed(self) -> PendingExchange | None:
        """One that may be let out now; where they come in order, the first one."""
        if self._ordered:
            return self.head
        while self._changed:
            pending, _ = self._changed.popitem(last=False)
            if pending.exchange in self._all:
                return pending
        return None

    def remove(self, pending: PendingExchange) -> None:
        """It is over, or is not looked after any more."""
        del self._all[pending.exchange]
        self.take_out(pending)
        fault = pending.fault
        if fault is not None:
            self._affected -= 1
            self.held.count(fault.held_of, -fault.held)
            fault.held = 0

    def clear(self) -> None:
        """None is looked after any more."""
        self.take_all()

    def take_all(self) -> OrderedDict[Exchange, PendingExchange]:
        """All of them, none of which is looked after any more."""
        taken, self._all = self._all, OrderedDict()
        self._changed.clear()
        self._affected = self._queueing = 0
        self.held = HeldBytes()
        return taken


class LostExchanges:
    """Those of connections that are gone, until their perturbations have ended.

    There is one for all connections, so that one slice is done between two turns of the loop.
    """

    __slots__ = ("_clock", "_lost", "_timers")

    def __init__(self, timers: Timers, clock: Clock) -> None:
        self._timers = timers
        self._clock = clock
        self._lost: deque[OrderedDict[Exchange, PendingExchange]] = deque()

    def add(self, exchanges: OrderedDict[Exchange, PendingExchange]) -> None:
        """End them, now as far as they are few and none waits before them."""
        if exchanges:
            self._lost.append(exchanges)
            if len(self._lost) == 1:
                self._slice()

    def close(self) -> None:
        """End all the rest."""
        while self._lost:
            self._end_one()

    def _slice(self) -> None:
        for _ in range(TURN):
            if not self._lost:
                return
            self._end_one()
        if self._lost:
            self._timers.at(self._clock.now(), self._slice)

    def _end_one(self) -> None:
        exchanges = self._lost[0]
        _, pending = exchanges.popitem(last=False)
        if not exchanges:
            self._lost.popleft()
        pending.close(LOST)
