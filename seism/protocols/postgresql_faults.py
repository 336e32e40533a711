"""What a PostgreSQL server can answer instead of the truth.

A statement that fails is made to fail for the server, too: in its place the server gets one
that it must refuse, and of its answer only the error is exchanged for ours. So the
transaction is really aborted and ReadyForQuery really says so: what follows gets 25P02 from
the server itself until ROLLBACK, and in the extended protocol it is the server that drops
everything up to Sync. A COMMIT that fails has rolled back: the server gets ROLLBACK.

What ends the session never reaches the server, whose side of the connection is closed: it
rolls back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.protocols import sql
from seism.protocols.base import COMMAND, CONNECT, Exchange, Piece
from seism.protocols.fault import (
    Answer,
    Answered,
    Began,
    Close,
    Commands,
    Edit,
    Fault,
    FaultRow,
    Reaction,
    Replace,
    Reset,
    ToClient,
    ToServer,
    toxics,
)
from seism.toxics.base import CHANGED, PASSED, Rng, Toxic

PREPARE = "prepare"
"""Phase of an exchange that parses a statement and does not execute it."""
COPY = "copy"
"""Phase of the data that follows COPY FROM STDIN."""

CODES = "https://www.postgresql.org/docs/current/errcodes-appendix.html"
COMMITS = ("COMMIT", "END")
WRITES = (
    "ALTER", "COMMENT", "CREATE", "DELETE", "DROP", "GRANT", "INSERT", "MERGE", "REFRESH",
    "REINDEX", "REVOKE", "TRUNCATE", "UPDATE",
)  # fmt: skip
"""Statements that a read-only server refuses."""
SERIALIZED = (
    "COPY", "DELETE", "END", "COMMIT", "EXECUTE", "FETCH", "INSERT", "MERGE", "SELECT", "TABLE",
    "UPDATE", "VALUES", "WITH",
)  # fmt: skip
"""Statements that can meet another transaction's update: those that read or write rows, and COMMIT.
BEGIN, SAVEPOINT and ROLLBACK cannot."""
SIMPLE = ("Q", "F")
"""Messages that are answered by ReadyForQuery of their own."""
UNDEFINED = b"\0C42703\0"
"""What the server says of a column that there is not."""
KEPT = b"NS"
"""Of an answer that is exchanged: notices, and parameters that have really changed."""


def message(code: str, body: bytes = b"") -> bytes:
    """A message of either side."""
    return code.encode() + (len(body) + 4).to_bytes(4) + body


def error(severity: str, code: str, text: str, kind: str = "E") -> bytes:
    """An ErrorResponse, or with ``kind`` ``N`` a NoticeResponse."""
    fields = {"S": severity, "V": severity, "C": code, "M": text}
    return message(kind, b"".join(f"{k}{v}\0".encode() for k, v in fields.items()) + b"\0")


def _refused(code: str) -> bytes:
    """A statement that no server takes; the code is for whoever reads the server's log.

    There is no such column. A mere syntax error would be found before an aborted transaction.
    """
    return f"SELECT seism_injects_{code}\0".encode()


def _parse(statement: bytes) -> bytes:
    return message("P", b"\0" + statement + b"\0\0")


ROLLBACK = _parse(b"ROLLBACK\0") + message("B", bytes(8)) + message("E", bytes(5))


class _Fail(Reaction):
    """The server gets a statement that fails in place of the client's; see above."""

    outcome = CHANGED

    def __init__(self, code: str, error: bytes, commit: bool) -> None:
        self._code = code
        self._error = error
        self._commit = commit
        self._simple = False
        self._reply = bytearray()

    def request(self, piece: Piece, now: float) -> Commands:
        if piece.first:
            yield Began()
            self._simple = chr(piece.data[0]) in SIMPLE
            refused = _refused(self._code)
            if self._simple:
                yield ToServer(message("Q", b"ROLLBACK\0" if self._commit else refused))
            else:
                yield ToServer((ROLLBACK if self._commit else b"") + _parse(refused))
        if not self._simple:
            # The server drops all of it up to Sync, or Flush, which it needs.
            yield ToServer(piece.data)

    def reply(self, piece: Piece, now: float) -> Commands:
        self._reply += piece.data
        self.held = len(self._reply)
        if not piece.last:
            return
        ready = b""
        at = 0
        while at < len(self._reply):
            size = int.from_bytes(self._reply[at + 1 : at + 5]) + 1
            code, whole = self._reply[at], bytes(self._reply[at : at + size])
            if code in KEPT:
                yield ToClient(whole)
            elif code == ord("Z"):
                ready = whole
            elif code == ord("E") and UNDEFINED not in whole:
                # It has an error of its own, as in a transaction that is aborted already.
                self._error, self.outcome = whole, PASSED
            at += size
        yield ToClient(self._error + ready)
        yield Answered()


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSQLRow(FaultRow):
    """A row of the tables below; ``PostgreSQLError`` explains its fields."""

    text: str
    kinds: tuple[str, ...] | None = None


class PostgreSQLError(Fault):
    """Base of the faults that let one statement fail."""

    __slots__ = ()

    protocol: ClassVar[str] = "postgresql"
    phases: ClassVar[tuple[str, ...]] = (COMMAND, PREPARE)
    source: ClassVar[str] = CODES
    text: ClassVar[str]
    """The server's own words."""
    kinds: ClassVar[tuple[str, ...]] = ()
    """Only these meet it; empty: all."""

    def fits(self, exchange: Exchange) -> bool:
        # ROLLBACK does not fail; Sync and Close ask for nothing that could.
        if exchange.kind in {"ROLLBACK", "Sync", "Close"}:
            return False
        if self.kinds and exchange.kind not in self.kinds:
            return False
        return Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        commit = exchange.kind in COMMITS and exchange.phase == COMMAND
        return _Fail(self.code, error("ERROR", self.code, self.text), commit)


class PostgreSQLEnd(Fault):
    """Base of the faults that end the session, with an error that says so."""

    __slots__ = ()

    protocol: ClassVar[str] = "postgresql"
    source: ClassVar[str] = CODES
    text: ClassVar[str]

    def fits(self, exchange: Exchange) -> bool:
        encryption = exchange.phase == CONNECT and exchange.kind != "startup"
        return not encryption and Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Answer(error("FATAL", self.code, self.text), Close())


@dataclass(frozen=True, slots=True)
class PostgreSQLCommitLost(Fault):
    """The server commits, and the connection is gone before it can say so."""

    type: ClassVar[str] = "postgresql_commit_lost"
    swept: ClassVar[str] = "commit lost"
    protocol: ClassVar[str] = "postgresql"
    source: ClassVar[str] = "https://www.postgresql.org/docs/current/sql-commit.html"

    reset: bool = option(False, help="by a reset (RST), not by an orderly end (FIN)")

    def fits(self, exchange: Exchange) -> bool:
        return exchange.kind in COMMITS and Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Replace(b"", Reset() if self.reset else Close())


@dataclass(frozen=True, slots=True)
class PostgreSQLNotice(Fault):
    """The server warns before it answers."""

    type: ClassVar[str] = "postgresql_notice"
    protocol: ClassVar[str] = "postgresql"
    phases: ClassVar[tuple[str, ...]] = (COMMAND, PREPARE)
    code: ClassVar[str] = "01000"
    source: ClassVar[str] = CODES

    text: str = option("the server is about to restart", help="what it says")

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        text = self.text.replace("\0", "")
        return _Before(error("WARNING", self.code, text, "N"))


class _Before(Edit):
    """Something comes before the reply."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def edit(self, piece: Piece) -> bytes:
        return self._data + piece.data if piece.first else piece.data


ERRORS = toxics(
    PostgreSQLError,
    PostgreSQLRow(
        type="postgresql_serialization_failure",
        help="A serializable transaction meets another one's update, and must be tried again.",
        code="40001",
        swept_where=sql.LOCKS_ROWS | {"phase": COMMAND},
        swept="40001",
        kinds=SERIALIZED,
        text="could not serialize access due to concurrent update",
        source="https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html",
    ),
    PostgreSQLRow(
        type="postgresql_deadlock",
        help="The transaction is the one that a deadlock is resolved with.",
        code="40P01",
        swept_where=sql.LOCKS_ROWS | {"phase": COMMAND},
        text="deadlock detected",
        source="https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-DEADLOCKS",
    ),
    PostgreSQLRow(
        type="postgresql_query_canceled",
        help="The statement takes longer than statement_timeout.",
        code="57014",
        text="canceling statement due to statement timeout",
        source="https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-STATEMENT-TIMEOUT",
    ),
    PostgreSQLRow(
        type="postgresql_read_only",
        lasts=True,
        failover=True,
        swept="read-only",
        help="The server is a standby, as after a failover: statements that write are refused.",
        code="25006",
        text="cannot execute the statement in a read-only transaction",
        kinds=WRITES,
        source="https://www.postgresql.org/docs/current/hot-standby.html",
    ),
    PostgreSQLRow(
        type="postgresql_disk_full",
        swept_where=sql.WRITES_ROWS,
        lasts=True,
        swept="disk full",
        help="The server has no space left for data, or for a sort's temporary file.",
        code="53100",
        text="could not extend file: No space left on device",
        source="https://www.postgresql.org/docs/current/disk-full.html",
    ),
)

ENDS = toxics(
    PostgreSQLEnd,
    PostgreSQLRow(
        type="postgresql_admin_shutdown",
        help="An administrator shuts the server down, or terminates the session.",
        code="57P01",
        swept="57P01",
        phases=(COMMAND, PREPARE),
        text="terminating connection due to administrator command",
        source="https://www.postgresql.org/docs/current/server-shutdown.html",
    ),
    PostgreSQLRow(
        type="postgresql_connection_failure",
        help="A pooler in between, or the server itself, has lost its own connection.",
        code="08006",
        phases=(COMMAND, PREPARE),
        text="server closed the connection unexpectedly",
    ),
    PostgreSQLRow(
        type="postgresql_starting_up",
        lasts=True,
        swept="starting up",
        help="The server has been restarted, and takes no sessions yet.",
        code="57P03",
        phases=(CONNECT,),
        text="the database system is starting up",
    ),
    PostgreSQLRow(
        type="postgresql_too_many_connections",
        lasts=True,
        swept="full",
        help="All sessions that max_connections allows are taken.",
        code="53300",
        phases=(CONNECT,),
        text="sorry, too many clients already",
        source="https://www.postgresql.org/docs/current/runtime-config-connection.html#GUC-MAX-CONNECTIONS",
    ),
)

LAST_WORDS = {
    "57P01": error("FATAL", "57P01", "terminating connection due to administrator command"),
    "57P05": error("FATAL", "57P05", "terminating connection due to idle-session timeout"),
}

FAULTS: tuple[type[Toxic], ...] = (*ERRORS, *ENDS, PostgreSQLCommitLost, PostgreSQLNotice)
