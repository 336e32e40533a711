"""The codec of PostgreSQL, on what real clients and a real server have said."""

from __future__ import annotations

import struct

import pytest

from seism.protocols.base import Exchange, ProtocolError
from seism.protocols.postgresql import PostgreSQL
from seism.protocols.postgresql_faults import ERRORS
from tests.protocols.conformance import Conformance, Sample, heard
from tests.protocols.record import DATA, DOWN, UP, read, recorded
from tests.protocols.sessions.postgresql import SESSIONS, TRACE

SECRETS = ["secret", "item 2", "hundred", "copied", "noticed", "payload", "yyy", "seism"]


def message(code: str, body: bytes = b"") -> bytes:
    return code.encode() + struct.pack("!i", len(body) + 4) + body


STARTUP = struct.pack("!ii", 22, 196608) + b"user\0somebody\0"[:14]
READY = message("Z", b"I")
WELCOME = message("R", b"\0\0\0\0") + message("S", b"server_version\x0018\0") + READY


def query(text: str) -> bytes:
    return message("Q", text.encode() + b"\0")


def parse(name: str, text: str) -> bytes:
    return message("P", f"{name}\0{text}\0".encode() + b"\0\0")


BIND = message("B", b"\0\0\0\0\0\0\0\0")
EXECUTE = message("E", b"\0\0\0\0\0")
DESCRIBE = message("D", b"S\0")
FLUSH, SYNC = message("H"), message("S")
ERROR = message("E", b"SERROR\0C42601\0Mno\0\0")
START = [(UP, STARTUP), (DOWN, WELCOME)]


MADE = (
    Sample(
        "an error drops what has been flushed behind it, up to Sync",
        [
            *START,
            (UP, parse("", "SELEC 1") + FLUSH),
            (DOWN, ERROR),
            (UP, parse("", "SELECT 1") + BIND + FLUSH + EXECUTE + SYNC + query("SELECT 2")),
            (DOWN, READY + message("C", b"SELECT 1\0") + READY),
        ],
        ["startup", "SQL", "SELECT", "SELECT"],
    ),
    Sample(
        "queries one behind the other, and what the server says unasked",
        [
            *START,
            (DOWN, message("N", b"SNOTICE\0\0") + message("A", b"\0\0\0\1news\0\0")),
            (UP, query("BEGIN") + query("INSERT INTO shop.orders VALUES (7, 'gold')")),
            (DOWN, message("C", b"BEGIN\0") + message("A", b"\0\0\0\1news\0\0")),
            (DOWN, message("Z", b"T")),
            (DOWN, message("C", b"INSERT 0 1\0") + message("Z", b"T")),
            (DOWN, message("E", b"SFATAL\0C57P01\0\0")),
        ],
        ["startup", "BEGIN", "INSERT"],
        secrets=["gold"],
    ),
    Sample(
        "copy data that comes unasked, for a COPY that fails",
        [
            *START,
            (UP, query("COPY nothing FROM STDIN") + message("d", b"1\n") + message("c")),
            (DOWN, ERROR + READY),
            (UP, query("SELECT 1")),
            (DOWN, READY),
        ],
        ["startup", "COPY", "CopyData", "SELECT"],
        skips=False,
    ),
    Sample("TLS", [(UP, struct.pack("!ii", 8, 80877103)), (DOWN, b"S"), (UP, b"\x16\3\1")],
           ["SSLRequest"], opaque="TLS"),
    Sample("TLS at once", [(UP, b"\x16\3\1\2\0\1")], [], opaque="TLS"),
    Sample("GSSAPI", [(UP, STARTUP), (DOWN, message("R", b"\0\0\0\7"))],
           ["startup"], opaque="GSSAPI authentication"),
)  # fmt: skip


class TestPostgreSQL(Conformance):
    codec = PostgreSQL
    samples = (*recorded("postgresql", *SECRETS, skips=lambda name: "copy" not in name), *MADE)


def test_every_session_has_been_recorded() -> None:
    recordings = {path.stem: read(path).kinds for path in (DATA / "postgresql").glob("*.txt")}
    assert recordings == {name: session.kinds for name, session in SESSIONS.items()}


def test_an_exchange_says_what_it_is() -> None:
    chunks = read(DATA / "postgresql" / "psycopg_trace.txt").connections[0]
    select = heard(PostgreSQL, chunks).exchanges()[1]
    assert (select.kind, select.phase, select.summary) == ("SELECT", "command", "SELECT items")
    assert select.fields["table"] == "items"
    assert select.trace == TRACE


def test_a_prepared_statement_is_known_by_its_name() -> None:
    chunks = read(DATA / "postgresql" / "psycopg_prepared.txt").connections[0]
    found = heard(PostgreSQL, chunks).exchanges()[1:5]
    assert [(each.kind, each.phase) for each in found] == [
        ("SELECT", "prepare"), ("SELECT", "command"), ("SELECT", "command"), ("SELECT", "command")
    ]  # fmt: skip
    assert {each.fields["statement"] for each in found} == {"_pg3_0"}


def test_rows_are_passed_on_in_one_piece() -> None:
    rows = message("D", b"\0\1\0\0\0\1x") * 5000
    listener = heard(PostgreSQL, [*START, (UP, query("SELECT 1")), (DOWN, rows), (DOWN, READY)])
    pieces = listener.pieces[DOWN]
    assert [len(piece.data) for piece in pieces[-2:]] == [len(rows), len(READY)]


def test_a_notification_that_is_not_whole_says_so() -> None:
    """Nothing that a fault sends may come in the middle of it."""
    news = message("A", b"\0\0\0\1news\0payload\0")
    listener = heard(PostgreSQL, [*START, (DOWN, news[:9]), (DOWN, news[9:])])
    found = [(piece.exchange, piece.cut) for piece in listener.pieces[DOWN][-2:]]
    assert found == [(None, True), (None, False)]


@pytest.mark.parametrize(
    "turns",
    [
        [(UP, struct.pack("!ii", 20_000, 196608))],
        [(UP, struct.pack("!ii", 8, 131072))],
        [(UP, struct.pack("!ii", 8, 80877103) + STARTUP)],
        [*START, (UP, message("z"))],
        [*START, (UP, b"S\0\0\0\5x")],
        [*START, (UP, b"Q\x7f\xff\xff\xff")],
        [*START, (DOWN, READY)],
        [*START, (UP, parse("", "SELECT 1")), (DOWN, READY)],
        [*START, (UP, message("X") + query("SELECT 1"))],
    ],
)
def test_what_breaks_the_protocol(turns: list[tuple[str, bytes]]) -> None:
    assert heard(PostgreSQL, turns).error


def test_statements_are_remembered_up_to_a_bound() -> None:
    codec = PostgreSQL()
    for stream, data in START:
        list(codec.receive(stream, data))
    for number in range(3000):
        list(codec.receive(UP, parse(f"s{number}", "SELECT 1") + SYNC))
        list(codec.receive(DOWN, message("1") + READY))
    assert len(codec._known) <= 1000
    (piece,) = codec.receive(UP, message("B", b"\0s2999\0\0\0\0\0\0\0") + EXECUTE + SYNC)
    assert piece.exchange is not None and piece.exchange.kind == "SELECT"
    with pytest.raises(ProtocolError):
        list(codec.receive(DOWN, message("?")))


@pytest.mark.parametrize(
    ("kind", "fits"),
    [("SELECT", True), ("UPDATE", True), ("COMMIT", True), ("BEGIN", False), ("SAVEPOINT", False),
     ("ROLLBACK", False), ("SET", False)],
)  # fmt: skip
def test_only_what_meets_rows_fails_to_serialize(kind: str, fits: bool) -> None:
    (fault,) = [each for each in ERRORS if each.type == "postgresql_serialization_failure"]
    assert fault().fits(Exchange(1, kind)) == fits


@pytest.mark.parametrize(
    ("asked", "subscription"),
    [
        ('LISTEN orders; LISTEN "Odd One"', "LISTEN orders, Odd One"),
        ("/* a job */ listen a", "LISTEN a"),
        ("UNLISTEN *", ""),
        ("SELECT 'LISTEN x'", ""),
    ],
)
def test_what_a_client_listens_to(asked: str, subscription: str) -> None:
    codec = PostgreSQL()
    list(codec.receive(UP, STARTUP))
    list(codec.receive(UP, query(asked)))
    assert codec.subscription == subscription


@pytest.mark.parametrize("end", ["UNLISTEN orders", "UNLISTEN *", "CLOSE ALL; UNLISTEN *;"])
def test_what_ends_it(end: str) -> None:
    codec = PostgreSQL()
    list(codec.receive(UP, STARTUP))
    for text in ("LISTEN orders", end):
        list(codec.receive(UP, query(text)))
    assert codec.subscription == ""
