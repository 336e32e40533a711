"""The seam between a fault and the exchange that it acts on: pieces in, commands out.

A fault is a toxic whose scope is the exchange: a frozen dataclass of options that makes one
reaction for each exchange that it affects. A reaction is to an exchange what a stage
(``seism.toxics.base``) is to a link: no socket, clock or generator of its own.

::

    request piece ─┐                        ┌─► ToServer(data)  at once, in the stream's order
    reply piece   ─┤                        ├─► ToClient(data)  when the exchange's turn comes
    due           ─┼──►  Reaction (one per ─┼─► Answered        the client has all of its reply
    removed       ─┘     fault and exchange)├─► Wake(at)        due() is called then
                                            ├─► Close | Reset   in turn, after what precedes
                                            └─► Began           it has had an effect

Bytes that are not passed on with ``ToServer`` or ``ToClient``, now or later, are dropped.
Where replies come in order, a reply never overtakes those to earlier requests, and nor
does an end of the connection: both wait for their turn. After ``Close`` or ``Reset`` the
backend gets nothing more. A perturbation lies between ``Began`` and the end of the exchange; its
outcome is what ``outcome`` says by then.

The ready-made reactions below are enough for most faults. A fault of a protocol is a few
lines: a type that begins with the protocol's name and ``_``, what it means, and its reaction.
Those that differ in data alone are the rows of a table: see ``FaultRow``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from seism.protocols.base import AUTH, COMMAND, CONNECT, Exchange, Piece
from seism.toxics.base import (
    CHANGED,
    CLOSED,
    LOST,
    PASSED,
    REMOVED,
    RESET,
    Close,
    Reset,
    Rng,
    Toxic,
    Wake,
)

__all__ = ["Close", "Reset", "Wake"]


@dataclass(frozen=True, slots=True)
class ToServer:
    """Send this to the backend."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ToClient:
    """Send this to the client, when the exchange's turn has come."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """The client has all that it will get for this exchange; the next one's turn comes."""


@dataclass(frozen=True, slots=True)
class Began:
    """The fault takes effect on this exchange. Said once, later ones are ignored."""


Command = ToServer | ToClient | Answered | Wake | Close | Reset | Began
Commands = Iterable[Command]


class Reaction:
    """What one fault does to one exchange; this one passes everything on."""

    swallows: bool = False
    """No byte of the request is passed on: the server will not answer it. Exchanges some of
    whose bytes have gone already are left alone."""
    outcome: str = PASSED
    """How the perturbation ends, in the words of ``PerturbationEnded``."""
    held: int = 0
    """Bytes of memory that it holds; the link stops reading when it is much."""
    blocks: bool = False
    """What the client sends after this request waits while this is true."""

    def request(self, piece: Piece, now: float) -> Commands:
        """A piece of the request has come; not called for what a server says first."""
        yield ToServer(piece.data)

    def reply(self, piece: Piece, now: float) -> Commands:
        """A piece of the server's reply has come."""
        yield ToClient(piece.data)
        if piece.last:
            yield Answered()

    def due(self, now: float) -> Commands:
        """The time of the last ``Wake`` has come."""
        return ()

    def removed(self, now: float) -> Commands:
        """The fault has been taken away: what is held goes on; called once, until answered."""
        return ()


class Fault(Toxic):
    """Base of all faults: a frozen dataclass of options that makes reactions."""

    __slots__ = ()

    protocol: ClassVar[str] = ""
    """The protocol that it speaks; empty: it does with any."""
    phases: ClassVar[tuple[str, ...]] = (COMMAND,)
    """Exchanges of other phases are left alone; empty: of none."""
    code: ClassVar[str] = ""
    """The protocol's own code for it, for the catalogue."""
    swept: ClassVar[str] = ""
    """Its name in a sweep, which tries it by itself where a backend has the protocol: for what
    every client meets one day. Empty: only where it is asked for."""
    swept_where: ClassVar[Mapping[str, str]] = {}
    """Conditions with which a sweep tries it: where a real server can give it. Whoever asks for
    it elsewhere gets it there."""
    swept_as: ClassVar[str] = ""
    """A toxic that a sweep has in its place, as a server does it between requests only."""
    lasts: ClassVar[bool] = False
    """It is a state of the server, met by every exchange on every connection until it is over: a
    sweep has it last for the whole probe. False: it happens to one exchange."""
    source: ClassVar[str] = ""
    """Where the vendor's manual explains the code: an address."""

    @classmethod
    def opens(cls) -> bool:
        """Whether it is met where a connection begins, and so never by one that is pooled."""
        return bool(cls.phases) and {CONNECT, AUTH}.issuperset(cls.phases)

    def fits(self, exchange: Exchange) -> bool:
        """Whether it can happen to ``exchange``, before the user's conditions are asked."""
        return exchange.replies and (not self.phases or exchange.phase in self.phases)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        """The state for one exchange. ``rng`` belongs to this fault on this exchange."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """A fault that is data alone: what differs from others of its protocol is in a table.

    A protocol's own table has a subclass, whose further fields its base class of faults reads.
    """

    type: str
    help: str
    """What has happened to the server, and in further paragraphs what to know of it."""
    code: str
    source: str = ""
    """Empty: that of the base class."""
    swept: str = ""
    swept_where: Mapping[str, str] | None = None
    lasts: bool = False
    phases: tuple[str, ...] | None = None
    """None: those of the base class."""


def toxics(base: type[Fault], *rows: FaultRow) -> tuple[type[Fault], ...]:
    """The toxic types of a table, in its order: subclasses of ``base``, which says what they do.

    What a row gives is a class variable, so what makes ``base`` a dataclass is made once.
    """
    if "__dataclass_fields__" not in vars(base):
        base = dataclass(frozen=True)(base)
    return tuple(_toxic(base, row) for row in rows)


def _toxic(base: type[Fault], row: FaultRow) -> type[Fault]:
    given = {field.name: getattr(row, field.name) for field in fields(row)}
    body = {key: value for key, value in given.items() if value not in ("", None)}
    body |= {"__doc__": body.pop("help"), "__module__": base.__module__, "__slots__": ()}
    name = "".join(word.capitalize() for word in row.type.split("_"))
    made: type[Fault] = type(name, (base,), body)
    return made


class Answer(Reaction):
    """The request never reaches the server; ``reply`` comes in its place.

    Of what a server says first, it is the other way round: that is dropped.
    """

    swallows = True
    outcome = CHANGED

    def __init__(self, reply: bytes, then: Close | Reset | None = None) -> None:
        """``reply`` is whole, and may be empty; after it the connection may end."""
        self._reply = reply
        self._then = then

    def request(self, piece: Piece, now: float) -> Commands:
        if piece.first:
            yield Began()
        if piece.last:
            yield from self._answer()

    def reply(self, piece: Piece, now: float) -> Commands:
        if piece.first:
            yield Began()
            yield from self._answer()

    def _answer(self) -> Commands:
        if self._reply:
            yield ToClient(self._reply)
        if self._then is not None:
            self.outcome = _ENDS[type(self._then)]
            yield self._then
        yield Answered()


class Replace(Reaction):
    """The request is served, and the client gets ``reply`` instead of the server's.

    ``request``, if given, is what the server gets in place of the client's: so that the
    server's own state becomes what ``reply`` says it is.
    """

    outcome = CHANGED

    def __init__(
        self, reply: bytes, then: Close | Reset | None = None, request: bytes | None = None
    ) -> None:
        """``reply`` is whole, and may be empty; after it the connection may end."""
        self._reply = reply
        self._then = then
        self._request = request

    def request(self, piece: Piece, now: float) -> Commands:
        if self._request is None:
            yield ToServer(piece.data)
            return
        if piece.first:
            yield Began()
        if piece.last:
            yield ToServer(self._request)

    def reply(self, piece: Piece, now: float) -> Commands:
        if piece.first:
            yield Began()
        if not piece.last:
            return
        if self._reply:
            yield ToClient(self._reply)
        if self._then is not None:
            self.outcome = _ENDS[type(self._then)]
            yield self._then
        yield Answered()


class Edit(Reaction):
    """The reply is altered as it passes: subclasses say how."""

    outcome = CHANGED

    def edit(self, piece: Piece) -> bytes:
        """What the client gets for ``piece`` of the reply; may be empty."""
        raise NotImplementedError

    def reply(self, piece: Piece, now: float) -> Commands:
        data = self.edit(piece)
        if data != piece.data:
            yield Began()
        if data:
            yield ToClient(data)
        if piece.last:
            yield Answered()


class Delay(Reaction):
    """The request, or its reply, comes ``seconds`` late, counted from its first piece."""

    def __init__(self, seconds: float, *, request: bool = False) -> None:
        self._seconds = seconds
        self._request = request
        self._waiting = bytearray()
        self._began = False
        self._answered = False
        """The last piece of the reply waits, too."""
        self._due = False

    def request(self, piece: Piece, now: float) -> Commands:
        if self._request:
            yield from self._wait(piece, now, request=True)
        else:
            yield ToServer(piece.data)

    def reply(self, piece: Piece, now: float) -> Commands:
        if self._request and piece.exchange is not None and piece.exchange.number:
            yield from super().reply(piece, now)
        else:
            yield from self._wait(piece, now, request=False)

    def due(self, now: float) -> Commands:
        self._due = True
        waiting, self._waiting, self.held = bytes(self._waiting), bytearray(), 0
        request, self.blocks = self.blocks, False
        if waiting:
            yield ToServer(waiting) if request else ToClient(waiting)
        if self._answered:
            yield Answered()

    def removed(self, now: float) -> Commands:
        if self._began and not self._due:
            self.outcome = REMOVED
        return self.due(now)

    def _wait(self, piece: Piece, now: float, *, request: bool) -> Commands:
        if self._due:
            yield ToServer(piece.data) if request else ToClient(piece.data)
            if piece.last and not request:
                yield Answered()
            return
        if not self._began:
            self._began = True
            yield Began()
            yield Wake(now + self._seconds)
        self._waiting += piece.data
        self.held = len(self._waiting)
        self.blocks = request
        self._answered = piece.last and not request


class Hang(Reaction):
    """This exchange, and all after it on its connection, are never answered.

    Removing it closes the connection: bytes are missing from both streams.
    """

    outcome = LOST

    def __init__(self, *, served: bool = False) -> None:
        """``served``: the backend gets the request, and its reply is lost."""
        self.swallows = not served

    def request(self, piece: Piece, now: float) -> Commands:
        self.blocks = piece.last
        if self.swallows:
            yield Began()
        else:
            yield ToServer(piece.data)

    def reply(self, piece: Piece, now: float) -> Commands:
        yield Began()

    def removed(self, now: float) -> Commands:
        self.outcome = CLOSED
        yield Close()


class Cut(Reaction):
    """The connection ends ``after`` so many bytes of the reply, which may be all of them."""

    def __init__(self, end: Close | Reset, after: int = 0) -> None:
        self._end = end
        self._left = after

    def reply(self, piece: Piece, now: float) -> Commands:
        if len(piece.data) <= self._left and not piece.last:
            self._left -= len(piece.data)
            yield ToClient(piece.data)
            return
        # A short reply is complete, and the connection ends with it.
        data = piece.data[: self._left]
        yield Began()
        if data:
            yield ToClient(data)
        self.outcome = _ENDS[type(self._end)]
        yield self._end


_ENDS = {Close: CLOSED, Reset: RESET}
