"""What a fault makes of a reply does not depend on how the network has cut it."""

from __future__ import annotations

import random

import pytest

from seism.protocols.base import Codec
from seism.protocols.fault import Close, Command, Fault, Reset, ToClient, ToServer
from seism.protocols.http import Http
from seism.protocols.http_faults import (
    HttpChunk,
    HttpDrip,
    HttpDuplicate,
    HttpHeader,
    HttpLength,
    HttpStatus,
    HttpTruncated,
)
from seism.protocols.ldap import Ldap
from seism.protocols.ldap_faults import LdapPartial, LdapSizeLimit
from seism.protocols.memcached import Memcached
from seism.registry import load
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.protocols.ber import busy, message, octets, search, sequence

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde"
LENGTH = b"HTTP/1.1 200 OK\r\nETag: 1\r\nContent-Length: 11\r\n\r\nhello world"
HINTED = b"HTTP/1.1 103 Early Hints\r\nETag: 0\r\n\r\n" + LENGTH
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
)
EMPTY = b"HTTP/1.1 200 OK\r\nETag: 1\r\nContent-Length: 0\r\n\r\n"
OTHER_HEAD = HINTED.replace(b"ETag: 1\r\n", b"").replace(b": 11\r\n", b": 11\r\netag: 9\r\n")
SET = b"set k 0 0 3\r\nabc\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
REFERENCE = message(7, 0x73, octets(b"ldap://a/"))
ENTRIES = [
    message(7, 0x64, octets(b"cn=%d" % number) + sequence(octets(b"x" * 50 * number)))
    for number in range(1, 5)
]
FOUND = b"".join((REFERENCE, *ENTRIES, busy(7)))
TOO_MANY = sequence(b"\x02\x01\x07", b"\x65\x07\x0a\x01\x04\x04\x00\x04\x00")

Case = tuple[type[Codec], Fault, bytes, bytes, bytes, type[Command] | None]
CASES: dict[str, Case] = {
    "truncated": (Http, HttpTruncated(bytes=4), GET, LENGTH, LENGTH[:-7], Close),
    "truncated, after hints": (Http, HttpTruncated(bytes=4), GET, HINTED, HINTED[:-7], Close),
    "reset, chunks": (Http, HttpTruncated(bytes=5, reset=True), GET, CHUNKS, CHUNKS[:52], Reset),
    "truncated, short": (Http, HttpTruncated(bytes=99), GET, LENGTH, LENGTH[:-1], Close),
    "truncated, nothing there": (Http, HttpTruncated(), GET, EMPTY, EMPTY, None),
    "length": (Http, HttpLength(error=-4), GET, LENGTH, LENGTH.replace(b"11", b"7"), None),
    "length, chunks": (Http, HttpLength(), GET, CHUNKS, CHUNKS, None),
    "chunk, nothing there": (Http, HttpChunk(), GET, EMPTY, EMPTY, None),
    "drip": (Http, HttpDrip(bytes=2), GET, LENGTH, LENGTH, None),
    "drip, chunks": (Http, HttpDrip(bytes=3), GET, CHUNKS, CHUNKS, None),
    "twice": (Http, HttpDuplicate(), GET, LENGTH, LENGTH * 2, None),
    "head": (Http, HttpHeader(name="etag", value="9"), GET, HINTED, OTHER_HEAD, None),
    "status": (Http, HttpStatus(), POST, b"", UNAVAILABLE, None),
    "entries": (Ldap, LdapSizeLimit(entries=2), search(7), FOUND,
                b"".join((REFERENCE, *ENTRIES[:2], TOO_MANY)), None),
    "entries, all": (Ldap, LdapPartial(entries=9), search(7), FOUND,
                     b"".join((REFERENCE, *ENTRIES)), None),
    "words": (Memcached, load().toxic("memcached_not_stored")(), SET, b"", b"NOT_STORED\r\n", None),
}  # fmt: skip


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
@pytest.mark.parametrize("case", CASES)
def test_the_client_gets_the_same(case: str, cut: int) -> None:
    kind, fault, request, reply, wanted, end = CASES[case]
    codec, now, got = kind(), 0.0, b""
    reaction = None
    commands: list[Command] = []
    for stream, data in ((UPSTREAM, request), (DOWNSTREAM, reply)):
        for at in range(0, len(data), cut):
            for piece in codec.receive(stream, data[at : at + cut]):
                assert piece.exchange is not None
                if reaction is None:
                    assert fault.fits(piece.exchange)
                    reaction = fault.reaction(piece.exchange, random.Random(1))
                    if reaction.swallows:
                        codec.skip(piece.exchange)
                hear = reaction.request if stream == UPSTREAM else reaction.reply
                commands += hear(piece, now)
    assert reaction is not None
    for _ in range(1000):  # whatever waits for its time
        now += 1.0
        commands += reaction.due(now)
    got = b"".join(command.data for command in commands if isinstance(command, ToClient))
    assert got == wanted
    ends = [type(command) for command in commands if isinstance(command, Close | Reset)]
    assert ends == ([end] if end else [])
    passed = b"".join(command.data for command in commands if isinstance(command, ToServer))
    assert passed == (b"" if reaction.swallows else request)
