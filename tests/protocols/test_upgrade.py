"""Where TLS begins in each protocol's streams, to the byte, and that what is inside is followed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from seism.protocols.base import Codec, ProtocolError
from seism.protocols.ldap import Ldap
from seism.protocols.mysql import MySQL
from seism.protocols.mysql_faults import packet
from seism.protocols.postgresql import PostgreSQL
from seism.protocols.postgresql_faults import message
from seism.protocols.smtp import Smtp

UP, DOWN = "upstream", "downstream"
TLS = b"\x16\x03\x01\x00\x05hello"
Chunks = list[tuple[str, bytes]]

STARTUP = (16).to_bytes(4) + b"\0\3\0\0user\0a\0\0"
READY = message("R", bytes(4)) + message("Z", b"I")
GREETING = packet(0, b"\x0a5.5\0" + bytes(12) + b"\0\xff\xff" + bytes(3) + b"\xff\xff" + bytes(13))
FLAGS = (0x8A00).to_bytes(4, "little")
LOGIN = FLAGS + bytes(28)
BIND = bytes.fromhex("300c020102600702010304008000")
BOUND = bytes.fromhex("300c02010261070a010004000400")
START_TLS = bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
STARTED = bytes.fromhex("300c02010178070a010004000400")


@dataclass(frozen=True)
class Case:
    codec: type[Codec]
    before: Chunks
    """Up to where TLS begins."""
    inside: Chunks
    kinds: list[str]
    """Of all exchanges that are asked for."""
    agreed: bytes = b""
    """What the codec says in the server's place; what the server says is the last of before."""


CASES = [
    Case(
        PostgreSQL,
        [(UP, b"\0\0\0\x08\x04\xd2\x16\x2f"), (DOWN, b"S")],
        [(UP, STARTUP), (DOWN, READY)],
        ["SSLRequest", "startup"],
        b"S",
    ),
    Case(PostgreSQL, [], [(UP, STARTUP), (DOWN, READY)], ["startup"]),
    Case(
        MySQL,
        [(DOWN, GREETING), (UP, packet(1, LOGIN))],
        [(UP, packet(2, LOGIN + b"a\0\0")), (DOWN, packet(3, bytes(7))), (UP, packet(0, b"\x0e"))],
        ["SSLRequest", "login", "COM_PING"],
    ),
    Case(
        Smtp,
        [(DOWN, b"220 a\r\n"), (UP, b"STARTTLS\r\n"), (DOWN, b"220 2.0.0 Ready to start TLS\r\n")],
        [(UP, b"EHLO a\r\n"), (DOWN, b"250 a\r\n")],
        ["STARTTLS", "EHLO"],
        b"220 2.0.0 Ready to start TLS\r\n",
    ),
    Case(
        Ldap,
        [(UP, START_TLS), (DOWN, STARTED)],
        [(UP, BIND), (DOWN, BOUND)],
        ["extended", "bind"],
        b"\x30\x24\x02\x01\x01\x78\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x16" + START_TLS[-22:],
    ),
]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.codec.name)
sizes = pytest.mark.parametrize("size", [1, 1 << 20])


def cut(chunks: Chunks, size: int) -> Iterator[tuple[str, bytes]]:
    for stream, data in chunks:
        for at in range(0, len(data), size):
            yield stream, data[at : at + size]


def feed(codec: Codec, chunks: Chunks, size: int, kinds: list[str]) -> None:
    """Everything comes out, and ``kinds`` gets those of the requests."""
    for stream, data in cut(chunks, size):
        assert not codec.upgrading
        for piece in codec.receive(stream, data):
            if piece.exchange is not None and piece.first and stream == UP:
                kinds.append(piece.exchange.kind)


@each
@sizes
def test_it_stops_where_tls_begins_and_goes_on_inside(case: Case, size: int) -> None:
    codec, kinds = case.codec(), []
    codec.upgrades = True
    feed(codec, case.before, size, kinds)
    assert codec.upgrading == bool(case.before)
    assert [codec.held(stream) for stream in (UP, DOWN)] == [b"", b""]
    assert list(codec.receive(UP, TLS)) == []
    assert (codec.upgrading, codec.held(UP)) == (True, TLS)
    assert [piece.data for stream in (UP, DOWN) for piece in codec.eof(stream)] == [TLS]
    codec.upgraded()
    feed(codec, case.inside, size, kinds)
    assert (kinds, codec.opaque, codec.upgrades) == (case.kinds, "", False)


@each
def test_what_comes_with_the_last_plain_byte_is_kept_apart(case: Case) -> None:
    codec = case.codec()
    codec.upgrades = True
    *first, (stream, data) = case.before or [(UP, b"")]
    feed(codec, first, 1 << 20, [])
    out = [piece.data for piece in codec.receive(stream, data + TLS)]
    assert (b"".join(out), codec.upgrading, codec.held(stream)) == (data, True, TLS)


@each
def test_it_agrees_in_the_servers_place(case: Case) -> None:
    if not case.agreed:
        assert case.codec is PostgreSQL or not case.codec.grants
        return
    codec = case.codec()
    codec.upgrades = True
    *first, (_, request), _ = case.before
    feed(codec, first, 1 << 20, [])
    for piece in codec.receive(UP, request + TLS):
        assert piece.exchange is not None
        assert codec.grant(piece.exchange) == case.agreed
    assert (codec.upgrading, codec.held(UP)) == (True, TLS)
    # What it says is what it takes for the server's own agreement.
    asked = case.codec()
    asked.upgrades = True
    feed(asked, [*case.before[:-1], (DOWN, case.agreed)], 1 << 20, [])
    assert asked.upgrading


@each
def test_it_agrees_to_nothing_else(case: Case) -> None:
    codec = case.codec()
    for stream, data in case.inside:
        for piece in codec.receive(stream, data) if not isinstance(codec, MySQL) else ():
            assert piece.exchange is None or codec.grant(piece.exchange) == b""


@each
def test_without_it_the_rest_is_opaque(case: Case) -> None:
    codec = case.codec()
    feed(codec, case.before, 1 << 20, [])
    assert b"".join(piece.data for piece in codec.receive(UP, TLS)) == TLS
    assert codec.opaque == "TLS"


@pytest.mark.parametrize(
    ("codec", "chunks"),
    [
        (PostgreSQL, [(UP, STARTUP)]),
        (MySQL, [(DOWN, GREETING), (UP, packet(1, LOGIN + b"a\0\0"))]),
    ],
)
def test_after_the_login_nothing_can_begin(codec: type[Codec], chunks: Chunks) -> None:
    made = codec()
    made.upgrades = True
    feed(made, chunks, 1 << 20, [])
    assert not made.upgrades


def test_a_server_that_refuses() -> None:
    codec = PostgreSQL()
    codec.upgrades = True
    feed(codec, [(UP, CASES[0].before[0][1]), (DOWN, b"N"), (UP, STARTUP), (DOWN, READY)], 1, [])
    assert not codec.upgrading
    with pytest.raises(ProtocolError):
        list(codec.receive(UP, TLS))
