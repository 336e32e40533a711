"""Inputs that make a careless codec work with the square of their length, per protocol.

``HOSTILE[protocol]`` maps a name to a function of a size: the turns of one connection whose length
is in proportion to it. ``dripped`` gives them byte by byte. A program that attacks a sidecar can
send the same: what goes ``UPSTREAM`` is a client's, the rest its server's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from seism_middleware.contract import DOWNSTREAM, UPSTREAM

Turns = list[tuple[str, bytes]]
Make = Callable[[int], Turns]


def up(*chunks: bytes) -> Turns:
    """What a client sends."""
    return [(UPSTREAM, chunk) for chunk in chunks]


def down(*chunks: bytes) -> Turns:
    """What a server sends."""
    return [(DOWNSTREAM, chunk) for chunk in chunks]


def dripped(turns: Turns) -> Turns:
    """The same, a byte at a time."""
    return [(stream, data[at : at + 1]) for stream, data in turns for at in range(len(data))]


def chunked(turns: Turns, size: int) -> Turns:
    """The same, in chunks of at most ``size`` bytes."""
    return [
        (stream, data[at : at + size]) for stream, data in turns for at in range(0, len(data), size)
    ]


def noise(size: int) -> bytes:
    """A block of random bytes, over and over: twice as much of it is twice the same."""
    block = random.Random(0).randbytes(200)
    return block * (size // len(block))


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
HTTP: dict[str, Make] = {
    "a field of blanks": lambda n: up(GET[:-2] + b"X:" + b" " * n + b"\1\r\n\r\n"),
    "a field of tabs and blanks": lambda n: up(
        GET[:-2] + b"X:" + b"\t " * (n // 2) + b"\1\r\n\r\n"
    ),
    "blanks behind a value": lambda n: up(GET[:-2] + b"X: a" + b" " * n + b"\1\r\n\r\n"),
    "a head that does not end": lambda n: up(b"GET /" + b"a" * n),
    "fields of one name": lambda n: up(GET[:-2] + b"a:b\r\n" * (n // 5) + b"\r\n"),
    "fields of many names": lambda n: up(
        GET[:-2] + b"".join(b"%d:b\r\n" % i for i in range(n // 8)) + b"\r\n"
    ),
    "a long path": lambda n: up(b"GET /" + b"a/" * (n // 2) + b" HTTP/1.1\r\n\r\n"),
    "a long trace": lambda n: up(GET[:-2] + b"traceparent: " + b"0" * n + b"\r\n\r\n"),
    "empty lines": lambda n: up(b"\r\n" * (n // 2)),
    "pipelined requests": lambda n: up(GET * (n // 26)),
    "tunnels that are asked for": lambda n: up(
        GET * (n // 52), *[b"CONNECT a:1 HTTP/1.1\r\n\r\n"] * (n // 52)
    ),
    "tiny chunks": lambda n: up(POST + b"1\r\nx\r\n" * (n // 6) + b"0\r\n\r\n"),
    "an extension of blanks": lambda n: up(POST + b"1" + b" " * n + b"\1\r\n"),
    "an extension of semicolons": lambda n: up(POST + b"1;" + b" ;" * (n // 2) + b"\1\r\n"),
    "many trailers": lambda n: up(POST + b"0\r\n" + b"a: b\r\n" * (n // 6) + b"\r\n"),
    "a trailer of blanks": lambda n: up(POST + b"0\r\na:" + b" " * n + b"\1\r\n\r\n"),
    "a status of blanks": lambda n: up(GET) + down(b"HTTP/1.1 200 " + b" " * n + b"\1\r\n\r\n"),
    "interim replies": lambda n: up(GET) + down(b"HTTP/1.1 100 Continue\r\n\r\n" * (n // 25)),
    "a body until the end": lambda n: up(GET) + down(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x"] * n),
    "many replies": lambda n: (
        up(GET * (n // 64)) + down(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * (n // 64))
    ),
    "noise": lambda n: up(noise(n)),
}

SMTP_HELLO = down(b"220 a\r\n")
SMTP: dict[str, Make] = {
    "a line that does not end": lambda n: SMTP_HELLO + up(b"a" * n),
    "commands": lambda n: SMTP_HELLO + up(b"NOOP\r\n" * (n // 6)),
    "logins": lambda n: SMTP_HELLO + up(b"NOOP\r\n" * (n // 12), *[b"AUTH X\r\n"] * (n // 16)),
    "an open quote": lambda n: SMTP_HELLO + up(b'MAIL FROM:<"' + b"a" * n + b"\r\n"),
    "quotes": lambda n: SMTP_HELLO + up(b"MAIL FROM:<" + b'"a"' * (n // 3) + b'"\r\n'),
    "angles": lambda n: SMTP_HELLO + up(b"RCPT TO:" + b"<" * n + b"\r\n"),
    "a reply that does not end": lambda n: (
        SMTP_HELLO + up(b"EHLO a\r\n") + down(b"250-a\r\n" * (n // 7))
    ),
    "a message of dots": lambda n: (
        SMTP_HELLO + up(b"DATA\r\n") + down(b"354 a\r\n") + up(b"\r\n..\r\n" * (n // 6))
    ),
    "a message of ends of lines": lambda n: (
        SMTP_HELLO + up(b"DATA\r\n") + down(b"354 a\r\n") + up(b"\r\n" * (n // 2))
    ),
    "tiny chunks": lambda n: SMTP_HELLO + up(b"BDAT 1\r\nx" * (n // 9)),
    "noise": lambda n: SMTP_HELLO + up(noise(n)),
}

REDIS: dict[str, Make] = {
    "a line that does not end": lambda n: up(b"a" * n),
    "a reply that does not end": lambda n: up(b"PING\r\n") + down(b"+" + b"a" * n),
    "commands of a line": lambda n: up(b"PING\r\n" * (n // 6)),
    "a line of words": lambda n: up(b"a " * (n // 2) + b"\r\n"),
    "commands": lambda n: up(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n" * (n // 20)),
    "a command of many arguments": lambda n: up(b"*%d\r\n" % (n // 7) + b"$1\r\na\r\n" * (n // 7)),
    "a long argument": lambda n: up(b"*2\r\n$3\r\nGET\r\n$%d\r\n" % n + b"a" * n + b"\r\n"),
    "empty commands": lambda n: up(b"*0\r\n" * (n // 4)),
    "transactions": lambda n: up(b"MULTI\r\nPING\r\n" * (n // 13)),
    "nested arrays": lambda n: up(b"PING\r\n") + down(b"*1\r\n" * (n // 4)),
    "an array of many": lambda n: (
        up(b"PING\r\n") + down(b"*%d\r\n" % (n // 4) + b":1\r\n" * (n // 4))
    ),
    "attributes": lambda n: up(b"PING\r\n") + down(b"|1\r\n" * (n // 4)),
    "pushes": lambda n: down(b">1\r\n+a\r\n" * (n // 8)),
    "many replies": lambda n: up(b"PING\r\n" * (n // 13)) + down(b"+PONG\r\n" * (n // 13)),
    "zeros": lambda n: up(b"*" + b"0" * n),
    "noise": lambda n: up(noise(n)),
}

QUIET_GET = b"\x80\x0d\0\1" + bytes(7) + b"\1" + bytes(12) + b"k"
NOOP_REPLY = b"\x81\x0a" + bytes(22)
MEMCACHED: dict[str, Make] = {
    "a line that does not end": lambda n: up(b"a" * n),
    "a long get": lambda n: up(b"get " + b"key " * (n // 4) + b"\r\n"),
    "commands": lambda n: up(b"get k\r\n" * (n // 7)),
    "quiet commands": lambda n: up(b"mg k q\r\n" * (n // 8)),
    "quiet commands of many keys": lambda n: (
        up(b"".join(b"mg %d k v q\r\n" % i for i in range(n // 28)) + b"mn\r\n")
        + down(b"".join(b"HD k%d\r\n" % i for i in range(n // 28)) + b"MN\r\n")
    ),
    "replies that may be to many": lambda n: (
        up(b"mg k q\r\n" * (n // 12)) + down(b"HD\r\n" * (n // 12))
    ),
    "replies to the last of many": lambda n: (
        up(b"mg k q Oa\r\n" * (n // 16) + b"mn\r\n") + down(b"HD Ob\r\n" * (n // 16))
    ),
    "errors": lambda n: (
        up(b"set k 0 0 1 noreply\r\nx\r\n" * (n // 35)) + down(b"SERVER_ERROR a\r\n" * (n // 35))
    ),
    "tiny values": lambda n: up(b"set k 0 0 1\r\nx\r\n" * (n // 16)),
    "values in one reply": lambda n: up(b"get k\r\n") + down(b"VALUE k 0 1\r\nx\r\n" * (n // 16)),
    "statistics": lambda n: up(b"stats\r\n") + down(b"STAT a b\r\n" * (n // 10)),
    "a reply that does not end": lambda n: up(b"get k\r\n") + down(b"a" * n),
    "many replies": lambda n: up(b"get k\r\n" * (n // 12)) + down(b"END\r\n" * (n // 12)),
    "packets": lambda n: up((b"\x80\x0a" + bytes(22)) * (n // 24)),
    "quiet packets": lambda n: up(QUIET_GET * (n // 50)) + down(NOOP_REPLY * (n // 50)),
    "noise": lambda n: up(noise(n)),
}


def _ber(tag: int, content: bytes) -> bytes:
    return bytes((tag, 0x84)) + len(content).to_bytes(4, "big") + content


def _ldap(number: int, tag: int, content: bytes, controls: bytes = b"") -> bytes:
    return _ber(0x30, b"\2\4" + number.to_bytes(4, "big") + _ber(tag, content) + controls)


def _deletes(count: int) -> bytes:
    return b"".join(_ldap(i, 0x4A, b"a") for i in range(1, count + 1))


def _nested(size: int) -> bytes:
    """A filter of ands, each in the one before."""
    return b"".join(b"\xa0\x84" + left.to_bytes(4, "big") for left in range(size, 0, -6))


def _search(size: int) -> bytes:
    return b"\4\1a" + b"\x0a\1\0" + _nested(size)


LDAP: dict[str, Make] = {
    "operations": lambda n: up(_deletes(n // 19)),
    "operations and their replies": lambda n: (
        up(_deletes(n // 50))
        + down(b"".join(_ldap(i, 0x6B, b"\x0a\1\0\4\0\4\0") for i in range(1, n // 50)))
    ),
    "replies in reverse": lambda n: (
        up(_deletes(n // 50))
        + down(b"".join(_ldap(i, 0x6B, b"\x0a\1\0\4\0\4\0") for i in range(n // 50, 0, -1)))
    ),
    "entries": lambda n: (
        up(_ldap(1, 0x63, _search(6))) + down(_ldap(1, 0x64, b"\4\1a\x30\0") * (n // 24))
    ),
    "a filter in a filter": lambda n: up(_ldap(1, 0x63, _search(n))),
    "many controls": lambda n: up(_ldap(1, 0x4A, b"a", _ber(0xA0, b"\x30\3\4\1a" * (n // 5)))),
    "a session of many texts": lambda n: up(
        _ldap(
            1,
            0x4A,
            b"a",
            _ber(
                0xA0,
                _ber(
                    0x30,
                    b"\4\x1a1.3.6.1.4.1.21008.108.63.1" + _ber(4, _ber(0x30, b"\4\1a" * (n // 3))),
                ),
            ),
        )
    ),
    "a long name": lambda n: up(_ldap(1, 0x4A, b"a" * n)),
    "notices": lambda n: down(_ldap(0, 0x78, b"\x0a\1\0\4\0\4\0") * (n // 25)),
    "noise": lambda n: up(noise(n)),
}


def _packet(data: bytes, number: int = 0) -> bytes:
    return len(data).to_bytes(3, "little") + bytes((number,)) + data


def _query(sql: bytes) -> bytes:
    return _packet(b"\x03" + sql)


MYSQL_OK = b"\0\0\0\2\0\0\0"
GREETING = _packet(b"\x0a8.0\0" + bytes(13) + b"\xff\xf7" + b"\xff\2\0" + b"\xff\0" + bytes(40))
LOGIN = _packet((0x0200 | 0x8000 | 0x80).to_bytes(4, "little") + bytes(28) + b"u\0\0", 1)
SESSION = [*down(GREETING), *up(LOGIN), *down(_packet(MYSQL_OK, 2))]
STATEMENTS: dict[str, Callable[[int], bytes]] = {
    "a statement of words": lambda n: b"select a " * (n // 9),
    "quotes and backslashes": lambda n: b"select '" + b"\\'" * (n // 2) + b"\\",
    "quotes in pairs": lambda n: b"select " + b"''" * (n // 2) + b"'",
    "double quotes and backslashes": lambda n: b'select "' + b'\\"' * (n // 2) + b"\\",
    "escaped strings": lambda n: b"select e'" + b"\\' e'" * (n // 5) + b"\\",
    "dollar quotes": lambda n: b"select " + b"$a" * (n // 4) + b"$ " + b"$a" * (n // 4 - 1),
    "dollars": lambda n: b"select " + b"$" * n,
    "comments that do not end": lambda n: b"select /*" + b"/*" * (n // 2),
    "comments": lambda n: b"select /**/" * (n // 11),
    "nested queries": lambda n: b"select * from (" * (n // 15),
    "tables": lambda n: b"select (a from b" * (n // 16),
    "traces": lambda n: b"/*" + b"traceparent " * (n // 12) + b"*/",
    "a trace of blanks": lambda n: b"/*traceparent" + b" " * n + b"*/",
    "a trace behind quotes": lambda n: b"'" + b"\\'" * (n // 2) + b"\\/*traceparent='*/",
    "blanks": lambda n: b" " * n,
}

MYSQL: dict[str, Make] = {
    **{
        name: lambda n, sql=sql: SESSION + up(_query(sql(n)))  # type: ignore[misc]
        for name, sql in STATEMENTS.items()
    },
    "commands": lambda n: SESSION + up(_packet(b"\x0e") * (n // 5)),
    "commands without a reply": lambda n: SESSION + up(_packet(b"\x19\1\0\0\0") * (n // 9)),
    "prepared statements": lambda n: SESSION + up(_packet(b"\x16select") * (n // 11)),
    "replies": lambda n: (
        SESSION + up(_packet(b"\x0e") * (n // 16)) + down(_packet(MYSQL_OK, 1) * (n // 16))
    ),
    "rows": lambda n: (
        SESSION
        + up(_query(b"select 1"))
        + down(_packet(b"\1", 1), _packet(b"\3def" + bytes(20), 2), _packet(b"\xfe\0\0\2\0", 3))
        + down(_packet(b"\1a", 4) * (n // 6))
    ),
    "columns": lambda n: (
        SESSION
        + up(_query(b"select 1"))
        + down(_packet(b"\xfc\xff\xff", 1) + _packet(b"a", 2) * (n // 5))
    ),
    "an empty file": lambda n: (
        SESSION
        + up(_query(b"load data"))
        + down(_packet(b"\xfba", 1))
        + up(_packet(b"a", 2) * (n // 5))
    ),
    "noise": lambda n: SESSION + up(noise(n)),
}


def _message(kind: bytes, data: bytes = b"") -> bytes:
    return kind + (len(data) + 4).to_bytes(4, "big") + data


STARTUP = (lambda data: (len(data) + 4).to_bytes(4, "big") + data)(b"\0\3\0\0user\0a\0\0")
READY = _message(b"Z", b"I")
PG_SESSION = [*up(STARTUP), *down(_message(b"R", b"\0\0\0\0") + READY)]
PARSE, BIND = _message(b"P", b"\0select 1\0\0\0"), _message(b"B", bytes(8))
EXECUTE, SYNC, FLUSH = _message(b"E", b"\0\0\0\0\0"), _message(b"S"), _message(b"H")
DONE = _message(b"C", b"SELECT 1\0")

POSTGRESQL: dict[str, Make] = {
    **{
        name: lambda n, sql=sql: PG_SESSION + up(_message(b"Q", sql(n) + b"\0"))  # type: ignore[misc]
        for name, sql in STATEMENTS.items()
    },
    "a startup that does not end": lambda n: up(b"\0\0\x27\x10\0\3\0\0" + b"a" * min(n, 9990)),
    "queries": lambda n: PG_SESSION + up(_message(b"Q", b"select\0") * (n // 12)),
    "queries and their replies": lambda n: (
        PG_SESSION + up(_message(b"Q", b"select\0") * (n // 32)) + down((DONE + READY) * (n // 32))
    ),
    "extended queries": lambda n: PG_SESSION + up((PARSE + BIND + EXECUTE + SYNC) * (n // 60)),
    "flushes": lambda n: PG_SESSION + up(*[PARSE + FLUSH] * (n // 24)),
    "parses": lambda n: PG_SESSION + up(PARSE * (n // 19)),
    "statements of many names": lambda n: (
        PG_SESSION
        + up(b"".join(_message(b"P", b"%d\0select 1\0\0\0" % i) + SYNC for i in range(n // 28)))
    ),
    "closes": lambda n: PG_SESSION + up(_message(b"C", b"Sa\0") * (n // 8)),
    "rows": lambda n: (
        PG_SESSION + up(_message(b"Q", b"select\0")) + down(_message(b"D", b"\0\0") * (n // 7))
    ),
    "notices": lambda n: PG_SESSION + down(_message(b"N", b"\0") * (n // 6)),
    "notifications": lambda n: PG_SESSION + down(_message(b"A", bytes(6)) * (n // 11)),
    "copied data": lambda n: (
        PG_SESSION
        + up(_message(b"Q", b"copy a from stdin\0"))
        + down(_message(b"G", bytes(3)))
        + up(_message(b"d", b"a") * (n // 6))
    ),
    "noise": lambda n: PG_SESSION + up(noise(n)),
}

HOSTILE: dict[str, dict[str, Make]] = {
    "http": HTTP,
    "ldap": LDAP,
    "memcached": MEMCACHED,
    "mysql": MYSQL,
    "postgresql": POSTGRESQL,
    "redis": REDIS,
    "smtp": SMTP,
}
"""By the name of the protocol."""


def cases() -> Iterator[tuple[str, str, Make]]:
    """(protocol, name, function of the size)."""
    for protocol, makes in HOSTILE.items():
        for name, make in makes.items():
            yield protocol, name, make
