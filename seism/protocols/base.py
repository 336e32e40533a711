"""The seam between a protocol and the connection that it is spoken on: bytes in, pieces out.

A codec follows both streams of one connection from the first byte. It has no socket,
clock, chance or log. It cuts what comes into pieces, tells to which exchange each belongs,
and alters nothing: the pieces of a stream, one after the other, are the stream.

::

    client's bytes ─┐                      ┌─► Piece(data, exchange, first, last)
                    ├─►  Codec (one per  ──┤   kind, fields and phase of an Exchange
    server's bytes ─┘    connection)       └─► opaque: it understands no more

Payloads are skipped by their length, not held: what a codec may keep from being passed on
is the beginning of a message of which it can't say yet what it is (``held``), at most
``HELD_LIMIT`` bytes per stream.

A codec is told what was done behind its back: ``skip`` where a request never reached the
server, because something else answers it; ``upgraded`` where TLS has begun and is taken off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from seism.errors import ProtocolError
from seism.toxics.base import Toxic

__all__ = ["HELD_LIMIT", "SUMMARY_LIMIT", "Codec", "Exchange", "Piece", "ProtocolError"]

HELD_LIMIT = 64 * 1024
"""Bytes of one stream that a codec may hold: enough of a request to say what it is."""

ADDS, SETS, CHANGES, COUNTS, COMMITS = "adds", "sets", "changes", "counts", "commits"
"""Effects of an exchange. Repeating ``adds`` or ``counts`` adds or counts twice; repeating ``sets``
makes no difference; of ``changes`` nobody knows. Counters such as rate limits may be lost, so that
``counts`` is not lost work. ``commits`` makes permanent what precedes it."""

SUMMARY_LIMIT = 100
"""Characters of an exchange's summary."""

CONNECT = "connect"
AUTH = "auth"
COMMAND = "command"
"""Phases of an exchange; a protocol may have more, such as ``prepare``."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and its reply, or what a server says first (number 0, no request).

    It is complete as far as ``kind``, ``phase``, ``summary`` and ``fields`` go when its first
    piece comes out; the counts grow until ``answered``.
    """

    number: int
    """Counted from 1 per connection."""
    kind: str
    """What is asked, in the protocol's own word: ``GET``, ``SELECT``, ``search``, ``MAIL``."""
    phase: str = COMMAND
    summary: str = ""
    """What may be shown: no value, key or credential, at most ``SUMMARY_LIMIT`` characters."""
    fields: dict[str, str] = field(default_factory=dict)
    """What rules match on, by the names in ``Codec.matches``. It can hold values and is
    never shown, logged or recorded."""
    trace: str = ""
    """A W3C trace id (32 hex digits) that the request carries, if it does."""
    replies: bool = True
    """Whether the server answers it at all."""
    request_size: int = 0
    reply_size: int = 0
    answered: bool = False
    """Its last reply piece has come, or it has none."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of one message, as they came; never empty."""

    data: bytes
    exchange: Exchange | None
    """None for what belongs to no exchange: notices, pushed messages, opaque bytes."""
    first: bool = False
    """These bytes begin the exchange's request, or its reply."""
    last: bool = False
    """These bytes end the exchange's request, or its reply."""
    cut: bool = False
    """Their message goes on: until its other pieces have come, nothing that a fault sends
    may go between. It need not be said where replies come in order, but for messages that
    belong to no exchange."""


class Codec:
    """Follows one connection. Subclasses have no constructor arguments.

    Whatever comes, nothing but ``ProtocolError`` is raised, to blame the peer; after it, and
    once ``opaque`` is set, the codec is not asked again.
    """

    name: ClassVar[str]
    """The protocol's name in configuration, and of its entry point."""
    ordered: ClassVar[bool] = True
    """Replies come in the order of the requests; False where they carry ids (LDAP)."""
    matches: ClassVar[dict[str, str]] = {}
    """The keys of ``Exchange.fields`` -> what each holds, for help and docs."""
    expressions: ClassVar[dict[str, tuple[str, Callable[[str], str]]]] = {}
    """Keys of rules that take regular expressions -> the key of ``Exchange.fields`` whose text
    is searched, and what makes it short and free of values first. ``matches`` has them too."""
    phases: ClassVar[dict[str, str]] = {COMMAND: "a request and its reply"}
    """What ``Exchange.phase`` may be -> what that means."""
    faults: ClassVar[tuple[type[Toxic], ...]] = ()
    """What can be done to its exchanges, see ``seism.protocols.fault``: each one is a toxic
    type of proxies that speak this protocol."""

    changes: ClassVar[Mapping[str, str]] = {}
    """Kinds of exchanges that change what the backend holds -> their effect, as below."""

    blocking: ClassVar[frozenset[str]] = frozenset()
    """Kinds that the server answers once it has something for the client, which may take hours."""

    unanswered_kinds: ClassVar[frozenset[str]] = frozenset()
    """Kinds that never get a reply, so that no fault can act on them."""
    last_words: ClassVar[dict[str, bytes]] = {}
    """The server's code for why it ends an idle connection -> what it sends before it does."""

    negotiates: ClassVar[bool] = False
    """TLS can begin within its streams, by agreement; see ``turn_to_tls``."""
    grants: ClassVar[bool] = False
    """It has a reply that agrees to TLS; see ``grant``."""
    alpn: ClassVar[tuple[str, ...]] = ()
    """The names by which TLS knows the protocol (RFC 7301), where peers ask for one."""

    def __init__(self) -> None:
        self.opaque = ""
        """Why it understands no more, such as ``TLS`` or ``COPY BOTH``; empty while it does."""
        self.subscription = ""
        """What the client has subscribed to, in the protocol's words, such as ``LISTEN orders``:
        messages come that it does not ask for. Empty: it has not, or nobody asks for details."""
        self.detail = True
        """False: nobody asks for kinds, summaries and fields, so lengths are enough; ``kind``
        is then ``""`` wherever finding it costs more than that."""
        self.upgrades = False
        """Whoever gives the bytes speaks TLS itself, should it begin; the codec clears it once
        it can't begin any more. False: the connection is opaque from there on."""
        self.upgrading = False
        """What follows in both streams is TLS, and none of it comes out; until ``upgraded``."""

    def receive(self, stream: str, data: bytes) -> Iterable[Piece]:
        """Pieces of ``stream`` (``upstream``, ``downstream``), of ``data`` and of what was held.

        ``data`` is a chunk, cut anywhere, not empty. All bytes that are not held come out,
        in order. Raises ProtocolError; ``held`` still has what has not come out by then.
        """
        raise NotImplementedError

    def eof(self, stream: str) -> Iterable[Piece]:
        """The sender has ended ``stream``: what was held comes out, whatever it is."""
        raise NotImplementedError

    def held(self, stream: str) -> bytes:
        """The bytes of ``stream`` that have not come out yet."""
        raise NotImplementedError

    @property
    def unanswered(self) -> int:
        """Exchanges that it remembers until they are answered: reading stops at many."""
        return 0

    def holds(self, stream: str) -> int:
        """The length of ``held``."""
        return len(self.held(stream))

    def payload_left(self, stream: str) -> int:
        """How many of the next bytes of ``stream`` are the rest of a payload, if any.

        Given at once, they come out as one piece. So that much is read at once from a sender of
        which otherwise little is, as any few bytes could be a message.
        """
        return 0

    def turn_to_tls(self) -> None:
        """For subclasses: what both sides say next is TLS."""
        if self.upgrades:
            self.upgrading = True
        else:
            self.opaque = "TLS"

    def upgraded(self) -> None:
        """What is given from now on is what is inside of TLS; nothing is held."""
        self.upgrades = self.upgrading = False

    def grant(self, exchange: Exchange) -> bytes:
        """Agree to TLS in the server's place: the reply, if ``exchange`` asks for it, else empty.

        It is ``skip`` and ``turn_to_tls`` in one, and is called as ``skip`` is.
        """
        return b""

    def effect(self, exchange: Exchange, data: bytes) -> str:
        """The effect of ``exchange``, whose first bytes are ``data``: ``ADDS``, ...; empty: none,
        or unknown. A request that says that it may be repeated ``SETS``.
        """
        return self.changes.get(exchange.kind, "")

    def refuses(self, data: bytes) -> bool:
        """Whether a piece of a reply says that the backend has not done what was asked."""
        return False

    def skip(self, exchange: Exchange) -> None:
        """The request of ``exchange`` was not passed on: the server will not answer it.

        Called before any further bytes are given, when the first piece of the request has
        come out; the rest of the request comes out as it would have otherwise.
        """
        raise NotImplementedError
