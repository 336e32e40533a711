"""What a MySQL or MariaDB server can answer instead of the truth.

A statement that fails never reaches the server, whose transaction goes on, as it would after
such an error. A deadlock rolls the whole transaction back: there the server gets ROLLBACK in
place of the statement. What ends the session closes the server's side, too: it rolls back.

The words of the errors are the server's own; the codes are explained in MySQL's "Server Error
Message Reference" and MariaDB's "MariaDB Error Codes".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.protocols import sql
from seism.protocols.base import COMMAND, CONNECT, Exchange, Piece
from seism.protocols.fault import (
    Answer,
    Close,
    Commands,
    Cut,
    Fault,
    FaultRow,
    Reaction,
    Replace,
    Reset,
    toxics,
)
from seism.toxics.base import Rng, Toxic

PREPARE = "prepare"
"""Phase of COM_STMT_PREPARE."""
INFILE = "infile"
"""Phase of the file that follows LOAD DATA LOCAL."""

FULL = 0xFFFFFF
"""Payload of a packet that the next one continues."""
CODES = "https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html"
CLIENT_CODES = "https://dev.mysql.com/doc/mysql-errors/8.4/en/client-error-reference.html"
WHOLE = 1 << 62
"""More bytes than any reply has."""
STATEMENTS = ("COM_QUERY", "COM_STMT_EXECUTE", "COM_STMT_BULK_EXECUTE")
LOCKS = (
    "ALTER", "CALL", "CREATE", "DELETE", "DROP", "INSERT", "LOAD", "REPLACE", "SELECT", "UPDATE",
)  # fmt: skip
"""Statements that can wait for a lock; a SELECT does if it asks for one."""
WRITES = (
    "ALTER", "CREATE", "DELETE", "DROP", "GRANT", "INSERT", "LOAD", "RENAME", "REPLACE", "REVOKE",
    "TRUNCATE", "UPDATE",
)  # fmt: skip
"""Statements that a read-only server refuses."""


def packet(sequence: int, payload: bytes) -> bytes:
    """One packet of either side."""
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


def error(code: str, state: str, text: str, sequence: int) -> bytes:
    """An ERR packet; without a state as a server sends it that does not know its client yet."""
    mark = f"#{state}" if state else ""
    return packet(sequence, b"\xff" + int(code).to_bytes(2, "little") + f"{mark}{text}".encode())


ROLLBACK = packet(0, b"\3ROLLBACK")


@dataclass(frozen=True, slots=True, kw_only=True)
class MySQLRow(FaultRow):
    """A row of the tables below; ``MySQLAnswer`` explains its fields."""

    text: str
    state: str = ""
    kinds: tuple[str, ...] | None = None


class MySQLAnswer(Fault):
    """Base of the faults that answer a command with an error."""

    __slots__ = ()

    protocol: ClassVar[str] = "mysql"
    source: ClassVar[str] = CODES
    state: ClassVar[str] = "HY000"
    """The SQLSTATE."""
    text: ClassVar[str]
    """The server's own words."""

    def error(self, exchange: Exchange) -> bytes:
        """The reply to ``exchange``, whose request is complete: its sequence goes on."""
        packets = exchange.request_size // (FULL + 4) + 1
        return error(self.code, self.state, self.text, packets % 256)


class _Refuse(Answer):
    """An error comes in place of the reply, and the session may end."""

    def __init__(self, fault: MySQLAnswer, then: Close | None = None) -> None:
        super().__init__(b"", then)
        self._fault = fault

    def request(self, piece: Piece, now: float) -> Commands:
        if piece.last and piece.exchange is not None:
            self._reply = self._fault.error(piece.exchange)
        return super().request(piece, now)


class _RollBack(Replace):
    """The server rolls back instead."""

    def __init__(self, fault: MySQLAnswer) -> None:
        super().__init__(b"", request=ROLLBACK)
        self._fault = fault

    def reply(self, piece: Piece, now: float) -> Commands:
        if piece.exchange is not None:
            self._reply = self._fault.error(piece.exchange)
        return super().reply(piece, now)


class MySQLError(MySQLAnswer):
    """Base of the faults that let one statement fail."""

    __slots__ = ()

    kinds: ClassVar[tuple[str, ...]] = ()
    """Only these meet it; empty: all statements but ROLLBACK and COMMIT."""

    def fits(self, exchange: Exchange) -> bool:
        if exchange.fields.get("command") not in STATEMENTS:
            return False
        ends = exchange.kind in {"COMMIT", "ROLLBACK"}
        if exchange.kind not in self.kinds if self.kinds else ends:
            return False
        return Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Refuse(self)


@dataclass(frozen=True, slots=True)
class MySQLDeadlock(MySQLError):
    """The transaction is the one that a deadlock is resolved with: all of it is rolled back."""

    type: ClassVar[str] = "mysql_deadlock"
    swept_where: ClassVar[Mapping[str, str]] = sql.LOCKS_ROWS
    swept: ClassVar[str] = "1213"
    code: ClassVar[str] = "1213"
    state: ClassVar[str] = "40001"
    text: ClassVar[str] = "Deadlock found when trying to get lock; try restarting transaction"
    kinds: ClassVar[tuple[str, ...]] = (*LOCKS, "COMMIT")
    source: ClassVar[str] = "https://dev.mysql.com/doc/refman/8.4/en/innodb-deadlocks.html"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _RollBack(self)


@dataclass(frozen=True, slots=True)
class MySQLTooManyConnections(Fault):
    """All sessions that max_connections allows are taken: it says so instead of greeting."""

    type: ClassVar[str] = "mysql_too_many_connections"
    swept: ClassVar[str] = "full"
    lasts: ClassVar[bool] = True
    protocol: ClassVar[str] = "mysql"
    phases: ClassVar[tuple[str, ...]] = (CONNECT,)
    code: ClassVar[str] = "1040"
    source: ClassVar[str] = "https://dev.mysql.com/doc/refman/8.4/en/too-many-connections.html"

    def fits(self, exchange: Exchange) -> bool:
        return exchange.number == 0 and Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Answer(error(self.code, "", "Too many connections", 0), Close())


@dataclass(frozen=True, slots=True)
class MySQLAccessDenied(Fault):
    """The account's password has been changed, or the account is gone."""

    type: ClassVar[str] = "mysql_access_denied"
    lasts: ClassVar[bool] = True
    protocol: ClassVar[str] = "mysql"
    phases: ClassVar[tuple[str, ...]] = (CONNECT,)
    code: ClassVar[str] = "1045"
    source: ClassVar[str] = "https://dev.mysql.com/doc/refman/8.4/en/problems-connecting.html"

    def fits(self, exchange: Exchange) -> bool:
        return exchange.kind == "login" and Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Deny(self.code)


class _Deny(Answer):
    """The login fails; it is packet 1 of the handshake, or 2 inside of TLS."""

    def __init__(self, code: str) -> None:
        super().__init__(b"", Close())
        self._code = code

    def request(self, piece: Piece, now: float) -> Commands:
        if piece.first:
            sequence = (piece.data[3] + 1) % 256
            self._reply = error(self._code, "28000", "Access denied for user", sequence)
        return super().request(piece, now)


class MySQLEnd(MySQLAnswer):
    """Base of the faults that end the session, with an error that says so."""

    __slots__ = ()

    phases: ClassVar[tuple[str, ...]] = (COMMAND, PREPARE)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Refuse(self, Close())


@dataclass(frozen=True, slots=True)
class MySQLGoneAway(Fault):
    """After its reply the server ends an idle session (wait_timeout): the next command fails."""

    type: ClassVar[str] = "mysql_gone_away"
    swept_as: ClassVar[str] = "restart"
    protocol: ClassVar[str] = "mysql"
    phases: ClassVar[tuple[str, ...]] = (COMMAND, PREPARE)
    code: ClassVar[str] = "2006"
    source: ClassVar[str] = "https://dev.mysql.com/doc/refman/8.4/en/gone-away.html"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        # Clients say 2006 if they can't send, which a mere FIN would let them.
        return Cut(Reset(), WHOLE)


@dataclass(frozen=True, slots=True)
class MySQLLost(Fault):
    """The connection is gone before the reply, or in the middle of it."""

    type: ClassVar[str] = "mysql_lost_connection"
    protocol: ClassVar[str] = "mysql"
    phases: ClassVar[tuple[str, ...]] = (COMMAND, PREPARE)
    code: ClassVar[str] = "2013"
    source: ClassVar[str] = "https://dev.mysql.com/doc/refman/8.4/en/error-lost-connection.html"

    after: int = option(
        0, help="how much of the reply still comes", unit="bytes", minimum=0, maximum=1 << 40
    )

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Cut(Close(), self.after)


@dataclass(frozen=True, slots=True)
class MySQLCommitLost(Fault):
    """The server commits, and the connection is gone before it can say so."""

    type: ClassVar[str] = "mysql_commit_lost"
    swept: ClassVar[str] = "commit lost"
    protocol: ClassVar[str] = "mysql"
    code: ClassVar[str] = "2013"
    source: ClassVar[str] = CLIENT_CODES

    reset: bool = option(False, help="by a reset (RST), not by an orderly end (FIN)")

    def fits(self, exchange: Exchange) -> bool:
        return exchange.kind == "COMMIT" and Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Replace(b"", Reset() if self.reset else Close())


ERRORS = toxics(
    MySQLError,
    MySQLRow(
        type="mysql_lock_wait_timeout",
        swept_where=sql.LOCKS_ROWS,
        help="Another transaction holds a lock for longer than innodb_lock_wait_timeout.\n\n"
        "Only the statement is rolled back, the transaction goes on.",
        code="1205",
        text="Lock wait timeout exceeded; try restarting transaction",
        kinds=LOCKS,
        source="https://dev.mysql.com/doc/refman/8.4/en/innodb-parameters.html"
        "#sysvar_innodb_lock_wait_timeout",
    ),
    MySQLRow(
        type="mysql_read_only",
        lasts=True,
        failover=True,
        swept="read-only",
        help="The server is a replica, as after a failover: statements that write are refused.",
        code="1290",
        text="The MariaDB server is running with the --read-only option so it cannot execute this"
        " statement",
        kinds=WRITES,
        source="https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_read_only",
    ),
    MySQLRow(
        type="mysql_query_interrupted",
        help="The statement is killed (KILL QUERY), the session goes on.",
        code="1317",
        state="70100",
        text="Query execution was interrupted",
        source="https://dev.mysql.com/doc/refman/8.4/en/kill.html",
    ),
    MySQLRow(
        type="mysql_table_full",
        swept_where=sql.WRITES_ROWS,
        lasts=True,
        swept="disk full",
        help="There is no space left for a table, or for a temporary one.",
        code="1114",
        text="The table is full",
        source="https://dev.mysql.com/doc/refman/8.4/en/full-table.html",
    ),
)

ENDS = toxics(
    MySQLEnd,
    MySQLRow(
        type="mysql_shutdown",
        help="The server shuts down.\n\n"
        "A statement that is running mostly sees its connection end instead: "
        "mysql_lost_connection.",
        code="1053",
        swept="1053",
        state="08S01",
        text="Server shutdown in progress",
        source="https://dev.mysql.com/doc/refman/8.4/en/server-shutdown.html",
    ),
    MySQLRow(
        type="mysql_killed",
        help="An administrator kills the session (KILL), and the server can still say so.\n\n"
        "MariaDB mostly can't, as it shuts the socket down first: that is "
        "mysql_lost_connection.",
        code="1927",
        state="70100",
        text="Connection was killed",
        source="https://mariadb.com/kb/en/e1927/",
    ),
)

LAST_WORDS = {
    # https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html#error_er_client_interaction_timeout
    "4031": error(
        "4031",
        "HY000",
        "The client was disconnected by the server because of inactivity. See wait_timeout and "
        "interactive_timeout for configuring this behavior.",
        0,
    ),
    "1053": error("1053", "08S01", "Server shutdown in progress", 0),
    "1927": error("1927", "70100", "Connection was killed", 0),
}
"""Unasked, so that the sequence begins at 0."""

FAULTS: tuple[type[Toxic], ...] = (
    MySQLTooManyConnections,
    MySQLAccessDenied,
    *ERRORS,
    MySQLDeadlock,
    *ENDS,
    MySQLGoneAway,
    MySQLLost,
    MySQLCommitLost,
)
