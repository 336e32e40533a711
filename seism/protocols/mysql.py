"""MySQL's client/server protocol, as MySQL and MariaDB speak it: commands and their replies.

Strategy: a packet is a 3-byte length and a sequence number; 16 MiB - 1 means that the next
packet continues it. An exchange is the server's greeting (number 0), the login, each further
packet of the authentication, each command; and the file that the server asks for with LOCAL
INFILE. Where a reply ends depends on the command and on what both sides can do (CLIENT_*
flags of greeting and login): of a reply, the first bytes of each packet are looked at, no more.

Sources: MySQL source documentation, "Client/Server Protocol"
(https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html); MariaDB, "Client/Server
Protocol" (https://mariadb.com/kb/en/clientserver-protocol/).
"""

from __future__ import annotations

import functools
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
from seism.protocols.mysql_faults import FAULTS, FULL, INFILE, LAST_WORDS, PREPARE

__all__ = ["MySQL"]

GREETING_LIMIT = 1024
LOGIN_LOOK = 4096
"""Bytes of the login that are looked at: the user, the database; attributes come after them."""
STATUS_LOOK = 21
"""Bytes of an OK packet up to its status flags, at most."""
SHORTEST_OK = 7
STATEMENTS = 1000
"""Prepared statements that are remembered per connection."""
LATEST = 0xFFFFFFFF
"""MariaDB's statement id for the one that was prepared last."""

CONNECT_WITH_DB, COMPRESS, LOCAL_FILES, PROTOCOL_41, SSL = 0x8, 0x20, 0x80, 0x200, 0x800
LENENC_AUTH, DEPRECATE_EOF, ZSTD = 1 << 21, 1 << 24, 1 << 26
OPTIONAL_METADATA, QUERY_ATTRIBUTES = 1 << 25, 1 << 27
"""Capability flags."""
MORE_RESULTS, CURSOR = 0x8, 0x40
"""Status flags."""
OK, MORE_DATA, NULL, EOF, ERR = 0x00, 0x01, 0xFB, 0xFE, 0xFF
"""First bytes of a reply."""
PROGRESS = b"\xff\xff\xff"
"""MariaDB reports progress in what looks like an error."""

COMMANDS = {
    0x01: ("COM_QUIT", ""),
    0x02: ("COM_INIT_DB", "single"),
    0x03: ("COM_QUERY", "result"),
    0x04: ("COM_FIELD_LIST", "fetch"),
    0x05: ("COM_CREATE_DB", "single"),
    0x06: ("COM_DROP_DB", "single"),
    0x07: ("COM_REFRESH", "single"),
    0x08: ("COM_SHUTDOWN", "single"),
    0x09: ("COM_STATISTICS", "text"),
    0x0A: ("COM_PROCESS_INFO", "result"),
    0x0C: ("COM_PROCESS_KILL", "single"),
    0x0D: ("COM_DEBUG", "single"),
    0x0E: ("COM_PING", "single"),
    0x11: ("COM_CHANGE_USER", "auth"),
    0x15: ("COM_REGISTER_SLAVE", "single"),
    0x16: ("COM_STMT_PREPARE", "prepare"),
    0x17: ("COM_STMT_EXECUTE", "result"),
    0x18: ("COM_STMT_SEND_LONG_DATA", ""),
    0x19: ("COM_STMT_CLOSE", ""),
    0x1A: ("COM_STMT_RESET", "single"),
    0x1B: ("COM_SET_OPTION", "single"),
    0x1C: ("COM_STMT_FETCH", "fetch"),
    0x1F: ("COM_RESET_CONNECTION", "single"),
    0xFA: ("COM_STMT_BULK_EXECUTE", "result"),
}
"""Command -> (name, how it is answered; "" if it is not)."""
OPAQUE = {0x12: "binlog", 0x13: "table dump", 0x1E: "binlog"}


@dataclass(slots=True, eq=False)
class _Command(Exchange):
    state: str = "single"
    """What comes next in its reply."""
    left: int = 0
    """Definitions of columns and parameters that are still to come."""
    begun: bool = False
    statement: sql.Statement | None = None


class MySQL(Framed[_Command]):
    """Follows one connection to a MySQL or MariaDB server."""

    name = "mysql"
    changes = sql.CHANGING
    faults = FAULTS
    unanswered_kinds = frozenset(
        {"SSLRequest", "COM_QUIT", "COM_STMT_CLOSE", "COM_STMT_SEND_LONG_DATA"}
    )
    last_words = LAST_WORDS
    negotiates = True
    matches = {
        "verb": "first word of the statement: SELECT, INSERT, BEGIN, COMMIT (or SQL if unknown)",
        "table": "first table that the statement names, as database.table if so written",
        "sql": "text of the statement, its first 4096 characters",
        "regex": sql.REGEX_HELP,
        "command": "the protocol's command, such as COM_QUERY or COM_STMT_EXECUTE",
        "statement": "id of the prepared statement",
        "user": "user of the login",
        "database": "database of the login",
    }
    expressions = {"regex": ("sql", functools.partial(sql.shape, dialect=sql.MYSQL))}

    phases = {
        CONNECT: "the server's greeting; the login",
        AUTH: "one more packet of the authentication and its reply; a change of the user",
        PREPARE: "COM_STMT_PREPARE",
        COMMAND: "any other command",
        INFILE: "the file of LOAD DATA LOCAL INFILE",
    }

    def effect(self, exchange: Exchange, data: bytes) -> str:
        return sql.effect(exchange, data)

    def refuses(self, data: bytes) -> bool:
        return len(data) > 4 and data[4] == 0xFF  # ERR_Packet

    def __init__(self) -> None:
        super().__init__()
        self._expect = "greeting"
        """What the client's next packet is: login, auth, command, infile."""
        self._sending: _Command | None = None
        """Whose file is on its way."""
        self._can = 0
        self._continued: dict[str, Frame] = {}
        """Stream -> the message of which the next packet is a continuation."""
        self._known: dict[int, sql.Statement] = {}
        self._latest: sql.Statement | None = None

    # Packets.

    def _request(self, buffer: bytes, at: int) -> Head:
        return self._packet("upstream", buffer, at)

    def _reply(self, buffer: bytes, at: int) -> Head:
        return self._packet("downstream", buffer, at)

    def _packet(self, stream: str, buffer: bytes, at: int) -> Head:
        there = len(buffer) - at
        if there < 4:
            return 4
        length = int.from_bytes(buffer[at : at + 3], "little")
        frame: Head | None = self._continued.pop(stream, None)
        if isinstance(frame, Frame):
            frame = Frame(length + 4, frame.exchange, False, frame.last)
        else:
            decide = self._asked if stream == "upstream" else self._said
            frame = decide(buffer, at, length, there - 4)
        if isinstance(frame, Frame) and length == FULL:
            self._continued[stream] = frame
            return Frame(frame.size, frame.exchange, frame.first)
        return frame

    # The client's side.

    def _asked(self, buffer: bytes, at: int, length: int, there: int) -> Head:
        if self._expect == "infile":
            return self._file(length)
        if self._expect == "greeting":
            raise ProtocolError("the client has spoken first")
        if self._expect == "login":
            if there < min(length, LOGIN_LOOK):
                return 4 + min(length, LOGIN_LOOK)
            return self._login(buffer[at + 4 : at + 4 + min(length, LOGIN_LOOK)], length)
        if self._expect == "auth":
            return Frame(length + 4, self._new("auth", AUTH, "auth"), True, True)
        if not length or buffer[at + 3]:
            raise ProtocolError("a command is not empty and its sequence begins with 0")
        if not there:
            return 5
        return self._command(buffer, at, length, there)

    def _login(self, packet: bytes, length: int) -> Frame:
        flags = int.from_bytes(packet[:4], "little")
        if length < 32 or not flags & PROTOCOL_41:
            raise ProtocolError("a login older than MySQL 4.1")
        if length == 32 and flags & SSL:
            self.turn_to_tls()
            return Frame(36, self._silent("SSLRequest", CONNECT), True, True)
        self._can &= flags
        self._expect, self.upgrades = "auth", False
        command = self._new("login", CONNECT, "auth")
        user, _, rest = packet[32:].partition(b"\0")
        command.fields["user"] = user.decode("utf-8", "replace")
        if flags & CONNECT_WITH_DB:
            size, begin = _number(rest) if flags & LENENC_AUTH else (rest[0] if rest else 0, 1)
            database = rest[begin + size :].partition(b"\0")[0]
            command.fields["database"] = database.decode("utf-8", "replace")
        return Frame(length + 4, command, True, True)

    def _file(self, length: int) -> Frame:
        first = self._sending is None
        command = self._sending = self._sending or self._new("LOCAL INFILE", INFILE, "result")
        if not length:
            self._expect, self._sending = "command", None
        return Frame(length + 4, command, first, not length)

    def _command(self, buffer: bytes, at: int, length: int, there: int) -> Head:
        code = buffer[at + 4]
        name, state = COMMANDS.get(code, (f"command {code:#04x}", "single"))
        if code not in COMMANDS:
            self.opaque = OPAQUE.get(code, name)
            return Frame(length + 4, self._silent(name), True, True)
        texts = name == "COM_STMT_PREPARE" or (name == "COM_QUERY" and self.detail)
        look = min(length, HELD_LIMIT - 4 if texts else 5)
        if there < look:
            return 4 + look
        body = buffer[at + 5 : at + 4 + look]
        command = self._new(name, COMMAND, state) if state else self._silent(name)
        command.fields["command"] = name
        if texts:
            self._describe(command, self._text(name, body))
            if name == "COM_STMT_PREPARE":
                command.phase = PREPARE
                self._latest = command.statement
        elif name == "COM_QUERY":
            command.kind = ""
        elif name.startswith("COM_STMT"):
            number = int.from_bytes(body[:4], "little")
            command.fields["statement"] = str(number)
            if name.endswith("EXECUTE"):
                known = self._latest if number == LATEST else self._known.get(number)
                self._describe(command, known)
            elif name == "COM_STMT_CLOSE":
                self._known.pop(number, None)
        elif name == "COM_CHANGE_USER":
            self._expect, command.phase = "auth", AUTH
        return Frame(length + 4, command, True, True)

    def _text(self, name: str, body: bytes) -> sql.Statement | None:
        if name == "COM_QUERY" and self._can & QUERY_ATTRIBUTES:
            # Number of attributes, number of sets; attributes themselves are not read.
            if body[:2] != b"\0\1":
                return None
            body = body[2:]
        return sql.statement(body, sql.MYSQL)

    # The server's side.

    def _said(self, buffer: bytes, at: int, length: int, there: int) -> Head:
        if self._expect == "greeting":
            return self._greeting(buffer, at, length, there)
        command = self._waiting[0] if self._waiting else None
        look = min(length, STATUS_LOOK)
        if there < look:
            return 4 + look
        body = buffer[at + 4 : at + 4 + look]
        if command is None:
            # A server that shuts down, or has killed the session, says so unasked.
            if body[:1] != bytes([ERR]):
                raise ProtocolError("a packet that answers nothing")
            return Frame(length + 4)
        size = length + 4
        first, command.begun = not command.begun, True
        if command.state in {"rows", "fetch"} and length != FULL:
            size = _run(buffer, at)
        if size > length + 4:
            return Frame(size, command, first)
        last = self._over(command, body, length)
        if last:
            self._waiting.popleft()
        return Frame(size, command, first, last)

    def _greeting(self, buffer: bytes, at: int, length: int, there: int) -> Head:
        if not 0 < length <= GREETING_LIMIT:
            raise ProtocolError(f"a greeting of {length} bytes")
        if there < length:
            return 4 + length
        body = buffer[at + 4 : at + 4 + length]
        greeting = _Command(0, "greeting", CONNECT, "greeting")
        self._expect = "login"
        if body[0] != ERR:
            rest = body.partition(b"\0")[2]
            if body[0] != 10 or len(rest) < 20:
                raise ProtocolError(f"a greeting of protocol version {body[0]}")
            self._can = int.from_bytes(rest[13:15] + rest[18:20], "little")
        return Frame(length + 4, greeting, True, True)

    def _over(self, command: _Command, body: bytes, length: int) -> bool:
        """Whether the packet that begins with ``body`` ends the reply; moves on in it."""
        code = body[0] if body else None
        state = command.state
        if state == "text":
            return True
        if code is None:
            raise ProtocolError("an empty packet in a reply")
        if code == ERR and state not in {"columns", "definitions"}:
            if state == "auth":
                self._expect = "command"
            return not body.startswith(PROGRESS)
        if state == "auth":
            return self._authenticated(command, body, length)
        if state == "result":
            return self._result(command, body, length)
        if state == "prepare":
            return self._prepared(command, body)
        if state == "columns":
            command.left -= 1
            if not command.left:
                command.state = "rows" if self._can & DEPRECATE_EOF else "eof"
            return False
        if state == "definitions":
            command.left -= 1
            return not command.left
        if state == "eof":
            command.state = "rows"
            # The rows of a cursor are fetched by commands of their own.
            return bool(_status(body, length) & CURSOR)
        if state in {"rows", "fetch"}:
            if code != EOF or length >= (FULL if self._can & DEPRECATE_EOF else 9):
                return False
            if state == "rows" and _status(body, length) & MORE_RESULTS:
                command.state = "result"
                return False
        return True

    def _authenticated(self, command: _Command, body: bytes, length: int) -> bool:
        if body[0] == MORE_DATA and length == 2 and body[1] == 3:
            # caching_sha2_password: known already, OK follows.
            return False
        if body[0] == OK:
            self._expect = "command"
            if self._can & (COMPRESS | ZSTD) and command.kind != "COM_CHANGE_USER":
                self.opaque = "compression"
        return True

    def _result(self, command: _Command, body: bytes, length: int) -> bool:
        if body[0] == OK and length >= SHORTEST_OK:
            return not _status(body, length) & MORE_RESULTS
        if body[0] == NULL:
            self._expect = "infile"
            return True
        begin = 1 if self._can & OPTIONAL_METADATA else 0
        columns, used = _number(body[begin:])
        if not columns or length not in {begin + used, begin + used + 1}:
            raise ProtocolError("neither a result nor a number of columns")
        # MySQL says before the number, MariaDB after it, whether definitions follow.
        follow = body[0] if begin else body[used] if length > used else 1
        command.left = columns if follow else 0
        command.state = "columns" if follow else "rows" if self._can & DEPRECATE_EOF else "eof"
        return False

    def _prepared(self, command: _Command, body: bytes) -> bool:
        if body[0] != OK or len(body) < 12:
            raise ProtocolError("no reply to COM_STMT_PREPARE")
        number = int.from_bytes(body[1:5], "little")
        if command.statement:
            self._known.pop(number, None)
            self._known[number] = command.statement
            if len(self._known) > STATEMENTS:
                del self._known[next(iter(self._known))]
        command.state = "definitions"
        if not (self._can & OPTIONAL_METADATA and len(body) > 12 and not body[12]):
            for count in (body[5:7], body[7:9]):
                some = int.from_bytes(count, "little")
                command.left += some + (1 if some and not self._can & DEPRECATE_EOF else 0)
        return not command.left

    # Exchanges.

    def _new(self, kind: str, phase: str, state: str) -> _Command:
        self._count += 1
        command = _Command(self._count, kind, phase, kind, state=state)
        self._waiting.append(command)
        return command

    def _describe(self, command: _Command, statement: sql.Statement | None) -> None:
        if statement is None:
            return
        command.statement = statement
        statement.describe(command)


def _number(data: bytes) -> tuple[int, int]:
    """A length-encoded integer at the beginning of ``data``, and its size; 0 if it is cut off."""
    size = {0xFC: 3, 0xFD: 4, 0xFE: 9}.get(data[0] if data else 0, 1)
    return int.from_bytes(data[1:size] if size > 1 else data[:1], "little"), size


def _status(body: bytes, length: int) -> int:
    """Status flags of an OK packet, or of an EOF packet of old."""
    if body[0] == EOF and length <= 5:
        return int.from_bytes(body[3:5], "little")
    used = 1
    for _ in range(2):
        used += _number(body[used:])[1]
    return int.from_bytes(body[used : used + 2], "little")


def _run(buffer: bytes, at: int) -> int:
    """Bytes from ``at`` on of whole rows that are there; the first packet's, if it is none."""
    position, end = at, len(buffer) - 5
    while position <= end and buffer[position + 4] < EOF:
        length = int.from_bytes(buffer[position : position + 3], "little")
        if not 0 < length < FULL or position + 4 + length > len(buffer):
            break
        position += 4 + length
    return max(position - at, 4 + int.from_bytes(buffer[at : at + 3], "little"))
