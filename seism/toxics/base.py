"""The seam between a rule and the link that it acts on: events in, commands out.

A toxic is a frozen dataclass whose fields are options. For each link that it affects
it makes one stage. A link is a chain of stages in the toxics' creation order; what
one stage forwards is the next one's event. A stage has no socket, clock or generator
of its own: the time comes with each event, chance with its making, and what it wants
done it yields. A stage is never called again before its commands have been carried
out, and not at all after its connection is gone.

::

    started ─┐                       ┌─► Forward(Chunk | Eof)
    data    ─┤                       ├─► Wake(at)           due() is called then
    eof     ─┼──►  Stage (one per  ──┼─► Close | Reset      both sides of the connection
    due     ─┤     toxic and link)   ├─► Farewell | Mute    the server's side of it
    updated ─┤                       ├─► Began(offset)
    removed ─┘                       └─► Ended(outcome)

Between ``Began`` and ``Ended`` lies one perturbation: one stretch in which the toxic
had an effect, however many chunks it took. Whatever a stage is given in that time
counts as affected.

A toxic that is ``connecting`` acts while a connection is made: its stage can end it, or
keep the backend from being dialled (``holds_dial``). Connections that are established
when it comes are left alone. One that is ``established`` acts on these and on no other.

A new toxic is one such file, one line in the entry-point group ``seism.toxics`` and one
test file. It imports nothing but this module and ``seism.options``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

HOUR_MS = 3_600_000
"""The longest time that any toxic takes, in milliseconds."""

PASSED = "passed"
CLOSED = "closed"
RESET = "reset"
LOST = "lost"
CHANGED = "changed"
REMOVED = "removed"
"""Outcomes of a perturbation; ``PerturbationEnded`` in the contract explains them."""


class Rng(Protocol):
    """The part of ``random.Random`` that toxics use."""

    def random(self) -> float: ...
    def randint(self, a: int, b: int, /) -> int: ...
    def gauss(self, mu: float, sigma: float, /) -> float: ...
    def paretovariate(self, alpha: float, /) -> float: ...
    def lognormvariate(self, mu: float, sigma: float, /) -> float: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of a link's stream, cut anywhere, never empty."""

    data: bytes
    offset: int
    """How many bytes the link had received before the first of these."""

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Eof:
    """The sender has ended its stream (FIN), after ``offset`` bytes."""

    offset: int
    closes: bool = False
    """Made by a stage: once the receiver has all that comes before this, the whole
    connection ends with FIN on both sides. Nothing more is read from the sender."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Hand this on to the next stage, or to the receiver after the last one."""

    item: Chunk | Eof


@dataclass(frozen=True, slots=True)
class Wake:
    """Call ``due`` at this time (seconds); replaces an earlier ``Wake`` of the stage."""

    at: float


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection with FIN on both sides; what is held is lost."""


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection with RST on both sides."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """The server ends its stream: the client gets ``data``, then FIN, and nothing after that.

    What the client still sends comes to the stage; an upstream stage only.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class Mute:
    """The client gets nothing more from the server, not even its end; an upstream stage only."""


@dataclass(frozen=True, slots=True)
class Began:
    """An effect begins with the byte at ``offset``; None: where the link stands now."""

    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The effect is over. Comes before a ``Close`` or ``Reset`` that is its outcome."""

    outcome: str


Command = Forward | Wake | Close | Reset | Farewell | Mute | Began | Ended
Commands = Iterable[Command]


class Session(Protocol):
    """What a stage can ask about its connection."""

    @property
    def parked(self) -> bool:
        """Whether the client has the reply to all that it has sent, as far as can be told."""

    @property
    def moved(self) -> int:
        """Bytes received so far, from both sides."""

    @property
    def last_words(self) -> Mapping[str, bytes]:
        """``Codec.last_words`` of the connection's protocol."""


class Stage:
    """What one toxic knows and does on one link; this one passes everything on."""

    held: int = 0
    """Bytes of memory that the stage holds; the link stops reading when it is much."""
    full: bool = False
    """The stage holds as much as it wants to; the link does not read while it is."""
    holds_dial: bool = False
    """The backend is not dialled while this is true; see ``Toxic.connecting``."""
    common: Any = None
    """What ``Toxic.common`` has made; set before ``started``."""
    session: Session
    """Its connection; set before ``started``."""
    outlasts: bool = False
    """Removing the toxic leaves the stage where it is, until its connection ends or whoever
    undoes everything (the end of a lease, a reset) has the connection reset."""

    def started(self, now: float) -> Commands:
        """The stage has been put into its link: at accept, or on a live connection."""
        return ()

    def data(self, chunk: Chunk, now: float) -> Commands:
        """Bytes have come; those not forwarded, now or later, are dropped."""
        return (Forward(chunk),)

    def eof(self, eof: Eof, now: float) -> Commands:
        """The stream has ended; no ``data`` follows."""
        return (Forward(eof),)

    def due(self, now: float) -> Commands:
        """The time of the last ``Wake`` has come."""
        return ()

    def updated(self, toxic: Any, now: float) -> Commands:
        """The toxic's attributes have changed to those of ``toxic``, of the same class."""
        return ()

    def removed(self, now: float) -> Commands:
        """The toxic has been removed; what the stage still holds after this is lost."""
        return ()


class Toxic:
    """Base of all toxics: a frozen dataclass of options that makes stages."""

    __slots__ = ()

    type: ClassVar[str]
    """Its name in configuration and API, and of its entry point."""
    connecting: ClassVar[bool] = False
    """Acts only on connections that are being made; it has no direction then."""
    delays: ClassVar[bool] = False
    """It only holds bytes back: with a ``turn`` it acts on that turn alone."""
    established: ClassVar[bool] = False
    """Acts only on connections that exist when it is added; it has no direction then."""

    def stage(self, rng: Rng) -> Stage:
        """The state for one link. ``rng`` belongs to this toxic on this connection."""
        raise NotImplementedError

    def check(self, last_words: Mapping[str, bytes]) -> None:
        """Raise ConfigurationError if it can't be on a proxy of a protocol with these
        ``Codec.last_words``.
        """

    def common(self) -> Any:
        """What all stages of one toxic on one proxy share; made once, survives changes."""
        return None
