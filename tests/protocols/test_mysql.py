"""The codec of MySQL, on what real clients and a real MariaDB have said."""

from __future__ import annotations

import pytest

from seism.protocols.mysql import MySQL
from seism.protocols.mysql_faults import FULL
from tests.protocols.conformance import Conformance, Sample, heard
from tests.protocols.record import DATA, DOWN, UP, read, recorded
from tests.protocols.sessions.mysql import SESSIONS, TRACE

SKIPS = "pymysql_local_infile".__ne__
SECRETS = ["secret", "item 2", "hundred", "copied", "long data", "yyy"]


def packet(sequence: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


LONG_PASSWORD, PROTOCOL_41, SSL, DEPRECATE_EOF = 1, 0x200, 0x800, 1 << 24
OPTIONAL_METADATA, QUERY_ATTRIBUTES = 1 << 25, 1 << 27


def greeting(flags: int) -> bytes:
    low, high = (flags & 0xFFFF).to_bytes(2, "little"), (flags >> 16).to_bytes(2, "little")
    plugin = b"x" * 12 + b"\0" + b"caching_sha2_password\0"
    body = b"\x0a8.4.0\0" + b"\7\0\0\0" + b"x" * 8 + b"\0" + low + b"\x21\2\0" + high
    return packet(0, body + b"\x15" + bytes(10) + plugin)


def login(flags: int) -> bytes:
    return packet(1, flags.to_bytes(4, "little") + bytes(28) + b"somebody\0\0")


OK = b"\0\0\0\2\0\0\0"
MORE = b"\0\0\0\x0a\0\0\0"
EOF = b"\xfe\0\0\2\0"
ERROR = b"\xff\x15\4#28000no"
COLUMN = b"\3def" + bytes(20)


def start(flags: int = PROTOCOL_41 | LONG_PASSWORD) -> list[tuple[str, bytes]]:
    return [(DOWN, greeting(flags)), (UP, login(flags)), (DOWN, packet(2, OK))]


def query(text: str) -> bytes:
    return packet(0, b"\3" + text.encode())


def rows(sequence: int, *ends: bytes) -> bytes:
    """A result of two columns and three rows; ``ends`` are what ends columns and rows."""
    parts = [b"\2", COLUMN, COLUMN, *ends[:-1], b"\1a\1b", b"\1c\xfb", b"\0\0", ends[-1]]
    return b"".join(packet(sequence + n, part) for n, part in enumerate(parts))


NEW = PROTOCOL_41 | LONG_PASSWORD | DEPRECATE_EOF
MADE = (
    Sample(
        "caching_sha2_password: known already, then an account that is not",
        [
            (DOWN, greeting(NEW)),
            (UP, login(NEW)),
            (DOWN, packet(2, b"\1\3") + packet(3, OK)),
            (UP, packet(0, b"\x11root\0\0\0")),
            (DOWN, packet(1, b"\1\4")),
            (UP, packet(2, b"\2")),
            (DOWN, packet(3, b"\1-----BEGIN PUBLIC KEY-----")),
            (UP, packet(4, b"x" * 256)),
            (DOWN, packet(5, OK)),
            (UP, packet(0, b"\x0e")),
            (DOWN, packet(1, OK)),
        ],
        ["login", "COM_CHANGE_USER", "auth", "auth", "COM_PING"],
    ),
    Sample(
        "results without EOF packets, several, an error in the middle",
        [
            *start(NEW),
            (UP, query("SELECT a, b FROM t; DO 1; SELECT b")),
            (DOWN, rows(1, b"\xfe\0\0\x0a\0\0\0") + packet(8, MORE) + rows(9, b"\xfe" + OK[1:])),
            (UP, query("SELECT a FROM t")),
            (DOWN, packet(1, b"\1") + packet(2, COLUMN) + packet(3, b"\1a") + packet(4, ERROR)),
            (UP, packet(0, b"\x16SELECT a FROM t WHERE b = ?")),
            (DOWN, packet(1, b"\0\7\0\0\0\1\0\1\0\0\0\0") + packet(2, COLUMN) + packet(3, COLUMN)),
            (UP, packet(0, b"\x17\7\0\0\0\0\1\0\0\0")),
            (DOWN, rows(1, b"\xfe" + OK[1:])),
        ],
        ["login", "SELECT", "SELECT", "SELECT", "SELECT"],
    ),
    Sample(
        "metadata that is left out, query attributes, progress reports",
        [
            *start(NEW | OPTIONAL_METADATA | QUERY_ATTRIBUTES),
            (UP, packet(0, b"\3\0\1SELECT a FROM t")),
            (DOWN, packet(1, b"\0\1") + packet(2, b"\1a") + packet(3, b"\xfe" + OK[1:])),
            (UP, packet(0, b"\3\1\1\0\1\xfd\0\1k\1vSELECT 1")),
            (DOWN, packet(1, b"\xff\xff\xff\1\1\1\0\0\0") + packet(2, OK)),
        ],
        ["login", "SELECT", "COM_QUERY"],
        skips=False,
    ),
    Sample(
        "a statement and a row of 16 MiB and more",
        [
            *start(),
            (UP, FULL.to_bytes(3, "little") + b"\0\3INSERT INTO t VALUES ('".ljust(FULL + 1, b"x")),
            (UP, packet(1, b"x')")),
            (DOWN, packet(1, OK)),
            (UP, query("SELECT a FROM t")),
            (DOWN, packet(1, b"\1") + packet(2, COLUMN) + packet(3, EOF)),
            (DOWN, FULL.to_bytes(3, "little") + b"\4\xfe".ljust(FULL + 1, b"x")),
            (DOWN, FULL.to_bytes(3, "little") + b"\5" + b"\xff" * FULL),
            (DOWN, packet(6, b"") + packet(7, EOF)),
        ],
        ["login", "INSERT", "SELECT"],
    ),
    Sample("TLS", [(DOWN, greeting(NEW | SSL)),
                   (UP, packet(1, (NEW | SSL).to_bytes(4, "little") + bytes(28)))],
           ["SSLRequest"], opaque="TLS"),
    Sample("binlog", [*start(), (UP, packet(0, b"\x12\4\0\0\0\0\0\1\0\0\0"))],
           ["login", "command 0x12"], opaque="binlog"),
)  # fmt: skip


class TestMySQL(Conformance):
    codec = MySQL
    samples = (
        *recorded("mysql", *SECRETS, skips=SKIPS),
        *(each for each in MADE if "16 MiB" not in each.name),
    )


def test_sixteen_mebibytes() -> None:
    """Not in the shared suite, which would look at every byte of it a hundred times."""
    (sample,) = (each for each in MADE if "16 MiB" in each.name)
    listener = heard(MySQL, sample.turns)
    assert not listener.error
    found = listener.exchanges()
    assert [each.kind for each in found] == list(sample.kinds)
    assert all(each.answered for each in found)
    assert found[1].request_size == FULL + 11


def test_every_session_has_been_recorded() -> None:
    recordings = {path.stem: read(path).kinds for path in (DATA / "mysql").glob("*.txt")}
    assert recordings == {name: session.kinds for name, session in SESSIONS.items()}


def test_an_exchange_says_what_it_is() -> None:
    chunks = read(DATA / "mysql" / "mysqlclient_statements.txt").connections[0]
    (traced,) = (each for each in heard(MySQL, chunks).exchanges() if each.trace)
    assert traced.trace == TRACE
    assert (traced.summary, traced.fields["command"]) == ("SELECT items", "COM_QUERY")


def test_the_greeting_is_number_0() -> None:
    listener = heard(MySQL, [(DOWN, packet(0, b"\xff\x10\4Too many connections"))])
    (piece,) = listener.pieces[DOWN]
    assert piece.exchange is not None and piece.first and piece.last
    assert (piece.exchange.number, piece.exchange.kind) == (0, "greeting")


def test_what_a_server_says_unasked_is_nobodys() -> None:
    listener = heard(MySQL, [*start(), (DOWN, packet(0, ERROR))])
    assert not listener.error
    assert listener.pieces[DOWN][-1].exchange is None


@pytest.mark.parametrize(
    "turns",
    [
        [(UP, packet(1, b"hello"))],
        [(DOWN, packet(0, b"\x09old\0"))],
        [(DOWN, greeting(NEW)), (UP, packet(1, bytes(40)))],
        [*start(), (UP, packet(0, b""))],
        [*start(), (UP, packet(3, b"\x0e"))],
        [*start(), (DOWN, packet(0, OK))],
        [*start(), (UP, query("SELECT 1")), (DOWN, packet(1, b"\3what is this"))],
        [*start(), (UP, query("SELECT 1")), (DOWN, packet(1, b""))],
    ],
)
def test_what_breaks_the_protocol(turns: list[tuple[str, bytes]]) -> None:
    assert heard(MySQL, turns).error
