"""One exchange on its way through a conversation, from its first byte to its last."""

from __future__ import annotations

from seism.protocols.base import Exchange
from seism.protocols.fault import Close, Reaction, Reset
from seism.proxy.perturbation import Perturbation
from seism.proxy.rule import Rule
from seism.proxy.timers import Timer
from seism.rng import Journalled


class Turn:
    """An exchange, what is done to it, and what its client has not got yet."""

    __slots__ = (
        "answered",
        "chance",
        "delivered",
        "end",
        "exchange",
        "looking",
        "offset",
        "out",
        "perturbation",
        "reaction",
        "replied",
        "requested",
        "rng",
        "rule",
        "sent",
        "timer",
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
        self.rule: Rule | None = None
        self.reaction: Reaction | None = None
        self.rng: Journalled | None = None
        self.chance: float | None = None
        self.perturbation: Perturbation | None = None
        self.timer: Timer | None = None
        self.looking = False
        """An observer looks first: its client gets nothing until it has."""
        self.out: list[bytes | Close | Reset] = []
        """What waits for its turn."""
        self.delivered = 0
        """Bytes that have gone to the client."""
        self.sent = 0
        """Bytes of the request that its reaction has passed on."""

    @property
    def over(self) -> bool:
        return self.answered and self.requested and not self.out

    @property
    def late(self) -> bool:
        """Its reaction will act by itself, in time."""
        return self.timer is not None and self.timer.active

    @property
    def held(self) -> int:
        """Bytes of memory."""
        size = sum(len(item) for item in self.out if isinstance(item, bytes))
        return size if self.reaction is None else size + self.reaction.held

    def close(self, outcome: str = "") -> None:
        """It is over; ``outcome`` if not by what its reaction has done."""
        if self.timer is not None:
            self.timer.cancel()
        if self.perturbation is None or self.reaction is None or self.rng is None:
            return
        self.perturbation.end(
            outcome or self.reaction.outcome,
            self.end,
            self.rng.draws,
            self.rng.take(),
            request_size=self.exchange.request_size,
            reply_size=self.delivered,
            replied=self.replied,
        )
