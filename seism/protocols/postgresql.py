"""PostgreSQL's frontend/backend protocol 3: where one unit of work ends and whose reply it is.

Strategy: a message is a type byte and a length; nothing else is read of a reply but the type
of an authentication request. An exchange is

- the startup packet, an SSLRequest or GSSENCRequest with its one byte, each password message;
- a Query or FunctionCall, up to ReadyForQuery;
- in the extended protocol, everything up to and including Sync, answered by ReadyForQuery.
  A Flush ends it too, if the client then waits for the reply: asyncpg prepares with Parse,
  Describe, Flush and goes on in an exchange of its own; psycopg's pipelines flush where they
  fetch; pg8000 flushes and sends Sync at once, which is one exchange. Such a reply ends with
  the closing message of the last one sent, so those are counted, or with an error. After
  that the server drops everything up to Sync, so what follows is one exchange until then;
- after CopyInResponse, which ends the reply of the COPY, the data that it asked for (asyncpg
  sends it without having been asked).

Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol"
(https://www.postgresql.org/docs/current/protocol.html).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from seism.protocols import sql
from seism.protocols.base import (
    AUTH,
    COMMAND,
    CONNECT,
    HELD_LIMIT,
    Exchange,
    ProtocolError,
)
from seism.protocols.framed import Frame, Framed, Head
from seism.protocols.postgresql_faults import COPY, FAULTS, LAST_WORDS, PREPARE

__all__ = ["PostgreSQL"]

STARTUP_LIMIT = 10_000
"""Longest startup packet that a server takes (MAX_STARTUP_PACKET_LENGTH)."""
MESSAGE_LIMIT = 0x3FFFFFFF
"""Longest message: a server can't allocate more at once (MaxAllocSize)."""
STATEMENTS = 1000
"""Prepared statements and portals that are remembered per connection."""
NAME_LIMIT = 100
"""Bytes of the longest name that is remembered; drivers make them up, and stay below 64."""
SURVEYED = 16
"""Messages that may come before Bind or Execute until a unit's kind is given up."""

CANCEL, SSL, GSS = 80877102, 80877103, 80877104
ASKS = {2, 3, 5, 6, 10, 11}
"""Authentication requests that a password message answers."""
KERBEROS = {7, 8, 9}
LENGTHS = {ord("S"): 4, ord("H"): 4, ord("X"): 4, ord("c"): 4}
"""Client's messages that consist of their length."""

REQUESTS = frozenset(b"QPBDECFHSXdcfp")
EXTENDED = frozenset(b"PBDECHS")
REPLIES = frozenset(b"RKSZENA123ntTDCIsGHWdcVv")
NAMES = {"P": "Parse", "D": "Describe", "C": "Close", "S": "Sync"}
"""Kinds of exchanges that begin with these, where no statement is known."""
ANYTIME = frozenset(b"ENS")
"""What a server may say unasked; A (notification) never belongs to anybody's reply."""
PLAIN = REPLIES - frozenset(b"RZEGWA")
"""What decides nothing."""
MOST_CHANNELS = 100
"""Channels of LISTEN that are remembered per connection."""
_CHANNEL = re.compile(r'\bLISTEN\s+("[^"]+"|[\w$]+)', re.IGNORECASE)
_UNLISTENS = re.compile(r'\bUNLISTEN\s+("[^"]+"|[\w$]+|\*)|\bDISCARD\s+ALL\b', re.IGNORECASE)
CLOSING = frozenset(b"123nTCsI")
"""Each is the last answer to one message of the extended protocol."""


@dataclass(slots=True, eq=False)
class _Unit(Exchange):
    style: str = "simple"
    """How it is answered: simple, extended, auth, byte."""
    synced: bool = False
    """Its request has ended with Sync."""
    flushed: bool = False
    """Its request has ended with a Flush, as far as is known."""
    owed: int = 0
    """Messages of the extended protocol that have not been answered yet."""
    begun: bool = False
    failed: bool = False


class PostgreSQL(Framed[_Unit]):
    """Follows one connection to a PostgreSQL server, or to one that speaks like it."""

    name = "postgresql"
    changes = sql.CHANGING
    faults = FAULTS
    unanswered_kinds = frozenset({"Terminate"})
    last_words = LAST_WORDS
    negotiates = grants = True
    alpn = ("postgresql",)
    matches = {
        "verb": "first word of the statement: SELECT, INSERT, BEGIN, COMMIT (or SQL if unknown)",
        "table": "first table that the statement names, as schema.table if so written",
        "sql": "text of the statement, its first 4096 characters",
        "regex": sql.REGEX_HELP,
        "statement": "name of the prepared statement",
        "user": "user of the startup packet",
        "database": "database of the startup packet",
    }
    expressions = {"regex": ("sql", functools.partial(sql.shape, dialect=sql.POSTGRESQL))}

    phases = {
        CONNECT: "the startup packet; a request for encryption or to cancel",
        AUTH: "one password message and its reply",
        PREPARE: "Parse, without Bind and Execute",
        COMMAND: "any other message, or sequence of messages, up to its reply",
        COPY: "the data of COPY FROM STDIN",
    }

    def __init__(self) -> None:
        super().__init__()
        self._starting = True
        self._closed = False
        self._unit: _Unit | None = None
        """The extended unit whose request is on its way."""
        self._copy: _Unit | None = None
        """The copy data that is on its way."""
        self._copying: _Unit | None = None
        """Whose reply has asked for copy data that has not begun."""
        self._known: dict[bytes, sql.Statement] = {}
        """Statements (``S`` + name) and portals (``P`` + name)."""
        self._noted = 0
        self._channels: list[str] = []
        """What the client listens to, as it has asked."""

    # The client's side.

    def _request(self, buffer: bytes, at: int) -> Head:
        if self._starting:
            return self._start(buffer, at)
        if len(buffer) - at < 5:
            return 5
        code = buffer[at]
        size = _size(buffer, at, REQUESTS, "client")
        if self._closed or LENGTHS.get(code, size - 1) != size - 1:
            raise ProtocolError(f"message {chr(code)!r} of {size} bytes is out of place")
        if self._copy and self._copy.failed and code == ord("S"):
            self._unit, self._copy = self._copy, None
        if code in b"dcf" or (self._copy and code in b"HS"):
            # A server that takes copy data ignores Flush and Sync.
            return self._data(code, size)
        if code in EXTENDED:
            return self._extended(code, size, buffer, at)
        self._copy = self._unit = None
        if code == ord("Q"):
            if self.detail and len(buffer) - at < min(size, HELD_LIMIT):
                return min(size, HELD_LIMIT)
            unit = self._new("", COMMAND, "simple")
            if self.detail:
                statement = _statement(buffer[at + 5 : at + size])
                statement.describe(unit)
                self._listen(statement)
            return Frame(size, unit, True, True)
        if code == ord("F"):
            return Frame(size, self._new("FunctionCall", COMMAND, "simple"), True, True)
        if code == ord("p"):
            return Frame(size, self._new("password", AUTH, "auth"), True, True)
        self._closed = True
        return Frame(size, self._silent("Terminate"), True, True)

    def _start(self, buffer: bytes, at: int) -> Head:
        if buffer[at] == 0x16:
            # sslnegotiation=direct: it is not asked for, and nothing comes before it.
            self.turn_to_tls()
            return Frame(1) if self.opaque else len(buffer) - at + 1
        if len(buffer) - at < 8:
            return 8
        size = int.from_bytes(buffer[at : at + 4])
        code = int.from_bytes(buffer[at + 4 : at + 8])
        if not 8 <= size <= STARTUP_LIMIT:
            raise ProtocolError(f"startup packet of {size} bytes")
        if self._waiting:
            raise ProtocolError("bytes before the answer to an encryption request")
        if code in {SSL, GSS}:
            kind = "SSLRequest" if code == SSL else "GSSENCRequest"
            return Frame(size, self._new(kind, CONNECT, "byte"), True, True)
        if code == CANCEL:
            self._starting, self._closed = False, True
            return Frame(size, self._silent("CancelRequest", CONNECT), True, True)
        if code >> 16 != 3:
            raise ProtocolError(f"protocol version {code >> 16}.{code & 0xFFFF}")
        if len(buffer) - at < size:
            return size
        self._starting = self.upgrades = False
        unit = self._new("startup", CONNECT, "auth")
        texts = buffer[at + 8 : at + size].split(b"\0")
        for name, value in zip(texts[::2], texts[1::2], strict=False):
            if name in {b"user", b"database"}:
                unit.fields[name.decode()] = value.decode("utf-8", "replace")
        return Frame(size, unit, True, True)

    def _data(self, code: int, size: int) -> Frame:
        """Copy data, and what comes with it."""
        unit, first = self._copy, False
        if unit is None:
            source, self._copying = self._copying, None
            if source is None and self._waiting and self._waiting[-1].style == "simple":
                source = self._waiting[-1]
            if source is None:
                # The copy has failed already: the server drops it.
                return Frame(size, self._silent("CopyData", COPY), True, True)
            unit, first = self._new("CopyData", COPY, source.style), True
            unit.fields, unit.trace = dict(source.fields), source.trace
            unit.summary = f"CopyData {source.fields.get('table', '')}".strip()
            unit.owed = 1
            self._copy = unit
        if code not in b"cf":
            return Frame(size, unit, first)
        self._copy = None
        if unit.style == "simple":
            return Frame(size, unit, first, True)
        # It ends with Sync or Flush, as any unit of the extended protocol.
        self._unit = unit
        return Frame(size, unit, first)

    def _extended(self, code: int, size: int, buffer: bytes, at: int) -> Head:
        unit, first = self._unit, False
        if unit is None:
            if code == ord("H"):
                return Frame(size)
            first = True
            found = self._survey(buffer, at)
            if isinstance(found, int):
                return found
            kind, phase, name, statement = found
            unit = self._unit = self._new(kind, phase, "extended")
            if statement is not None:
                statement.describe(unit)
                self._listen(statement)
            unit.fields["statement"] = name.decode("utf-8", "replace")
        if self._noted:
            self._noted -= 1
        elif code in b"PBC":
            end = at + min(size, HELD_LIMIT)
            if len(buffer) < end:
                return end - at
            self._note(buffer, at, end)
        unit.synced = code == ord("S")
        # After a Flush the client waits, unless it has sent more already.
        unit.flushed = code == ord("H") and at + size == len(buffer)
        if code not in b"HS":
            unit.owed += 1
        waits = bool(self._waiting) and self._waiting[-1] is unit
        if unit.synced or (unit.flushed and not waits):
            self._unit = None
        return Frame(size, unit, first, unit.synced or unit.flushed)

    def _listen(self, statement: sql.Statement) -> None:
        """Follow LISTEN, UNLISTEN, and what ends all of them."""
        if statement.verb == "LISTEN":
            names = (found[1].strip('"')[:NAME_LIMIT] for found in _CHANNEL.finditer(statement.sql))
            self._channels = list(dict.fromkeys([*self._channels, *names]))[:MOST_CHANNELS]
        elif self._channels:
            for found in _UNLISTENS.finditer(statement.sql):
                name = (found[1] or "*").strip('"')
                self._channels = [each for each in self._channels if name not in ("*", each)]
        self.subscription = f"LISTEN {', '.join(self._channels)}" if self._channels else ""

    def _survey(
        self, buffer: bytes, start: int
    ) -> tuple[str, str, bytes, sql.Statement | None] | int:
        """Kind, phase, statement's name and text of the unit; or how many bytes that takes.

        A client that has sent Parse, Describe or Close waits for nothing before it has sent
        more, so they can be held.
        """
        if not self.detail:
            return "", COMMAND, b"", None
        at, name, statement = start, b"", None
        kind = NAMES.get(chr(buffer[at]), "Execute")
        phase = COMMAND
        for number in range(SURVEYED):
            if len(buffer) - at < 5:
                if at - start + 5 > HELD_LIMIT:
                    break
                return at - start + 5
            code, size = buffer[at], _size(buffer, at, REQUESTS, "client")
            if code not in b"PDCBE":
                break
            end = min(at + size, start + HELD_LIMIT)
            if len(buffer) < end:
                return end - start
            called, found = self._note(buffer, at, end)
            self._noted = number + 1
            if code in b"BE":
                return (found.verb if found else kind), COMMAND, called, found
            if code == ord("P") and statement is None:
                name, statement, phase = called, found, PREPARE
            if at + size > end:
                break
            at += size
        return (statement.verb if statement else kind), phase, name, statement

    def _note(self, buffer: bytes, at: int, end: int) -> tuple[bytes, sql.Statement | None]:
        """Learn from a message of which the bytes up to ``end`` are there: name, statement."""
        code, body = buffer[at], buffer[at + 5 : end]
        if code == ord("P"):
            name, _, rest = body.partition(b"\0")
            return name, self._remember(b"S" + name, _statement(rest))
        if code == ord("B"):
            portal, _, rest = body.partition(b"\0")
            name = rest.partition(b"\0")[0]
            found = self._known.get(b"S" + name)
            return name, self._remember(b"P" + portal, found) if found else None
        name = body.partition(b"\0")[0]
        if code == ord("C"):
            self._known.pop(name, None)
        return b"", self._known.get(b"P" + name) if code == ord("E") else None

    def _remember(self, key: bytes, statement: sql.Statement) -> sql.Statement:
        self._known.pop(key, None)
        if len(key) <= NAME_LIMIT:
            self._known[key] = statement
        if len(self._known) > STATEMENTS:
            del self._known[next(iter(self._known))]
        return statement

    # The server's side.

    def _reply(self, buffer: bytes, at: int) -> Head:
        unit = self._waiting[0] if self._waiting else None
        if unit and unit.style == "byte" and buffer[at] in b"NSG":
            self._waiting.popleft()
            if buffer[at] == ord("S"):
                self.turn_to_tls()
            elif buffer[at] == ord("G"):
                self.opaque = "GSSAPI encryption"
            return Frame(1, unit, True, True)
        if len(buffer) - at < 5:
            return 5
        code, size = buffer[at], _size(buffer, at, REPLIES, "server")
        if code == ord("A"):
            return Frame(size)
        if unit is None:
            return self._unasked(code, size)
        if code in PLAIN:
            return self._plain(unit, buffer, at)
        if code == ord("W"):
            self.opaque = "COPY BOTH"
        if code == ord("R") and len(buffer) - at < 9:
            return 9
        first, unit.begun = not unit.begun, True
        if code == ord("R"):
            if unit.style != "auth":
                raise ProtocolError("authentication request out of place")
            method = int.from_bytes(buffer[at + 5 : at + 9])
            if method in KERBEROS:
                self.opaque = "GSSAPI authentication"
            return Frame(size, unit, first, self._answered(unit, method in ASKS))
        if code == ord("Z"):
            if unit.style == "extended" and not unit.synced:
                raise ProtocolError("ReadyForQuery without Sync")
            last = self._answered(unit, True)
            following = self._waiting[0] if self._waiting else None
            if following and following.phase == COPY and unit.phase != COPY:
                # It came unasked, and the COPY has failed: the server drops it.
                following.answered = self._answered(following, True)
            return Frame(size, unit, first, last)
        if code == ord("G"):
            if len(self._waiting) == 1:
                self._copying = unit
            return Frame(size, unit, first, self._answered(unit, True))
        if code == ord("E"):
            unit.failed = True
            last = unit.style in {"auth", "byte"} or unit.flushed
            return Frame(size, unit, first, self._answered(unit, last))
        return Frame(size, unit, first)

    def _plain(self, unit: _Unit, buffer: bytes, at: int) -> Frame:
        """Messages in a row of which there is nothing to know but how many close something."""
        first, unit.begun = not unit.begun, True
        position, end = at, len(buffer) - 5
        while position <= end and buffer[position] in PLAIN:
            size = int.from_bytes(buffer[position + 1 : position + 5])
            if not 4 <= size <= MESSAGE_LIMIT:
                break
            if buffer[position] in CLOSING:
                unit.owed -= 1
                if unit.flushed and unit.owed <= 0:
                    size += position + 1 - at
                    return Frame(size, unit, first, self._answered(unit, True))
            position += size + 1
        return Frame(position - at, unit, first)

    def _unasked(self, code: int, size: int) -> Frame:
        if self._copying and code == ord("Z"):
            # It waited for copy data no longer.
            self._copying = None
        elif code not in ANYTIME:
            raise ProtocolError(f"message {chr(code)!r} answers nothing")
        return Frame(size)

    def _answered(self, unit: _Unit, last: bool) -> bool:
        if last and unit in self._waiting:
            self._waiting.remove(unit)
            if self._unit is unit:
                self._unit = None
        return last

    # Exchanges.

    def effect(self, exchange: Exchange, data: bytes) -> str:
        return sql.effect(exchange, data)

    def refuses(self, data: bytes) -> bool:
        at = 0
        while at + 5 <= len(data):
            if data[at] == 0x45:  # ErrorResponse
                return True
            at += 1 + max(4, int.from_bytes(data[at + 1 : at + 5], "big"))
        return False

    def skip(self, exchange: Exchange) -> None:
        super().skip(exchange)
        if self._unit is exchange and self._unit.flushed:
            self._unit = None

    def grant(self, exchange: Exchange) -> bytes:
        if exchange.kind != "SSLRequest":
            return b""
        self.skip(exchange)
        self.turn_to_tls()
        return b"S"

    def _new(self, kind: str, phase: str, style: str) -> _Unit:
        self._count += 1
        unit = _Unit(self._count, kind, phase, kind, style=style)
        self._waiting.append(unit)
        return unit


def _size(buffer: bytes, at: int, known: frozenset[int], who: str) -> int:
    """Of the whole message at ``at``, whose five first bytes are there."""
    size = int.from_bytes(buffer[at + 1 : at + 5])
    if buffer[at] not in known or not 4 <= size <= MESSAGE_LIMIT:
        raise ProtocolError(f"no message of a PostgreSQL {who}: {buffer[at : at + 5].hex()}")
    return size + 1


def _statement(text: bytes) -> sql.Statement:
    return sql.statement(text.partition(b"\0")[0], sql.POSTGRESQL)
