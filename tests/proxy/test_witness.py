"""Exchanges that change something, as the proxy sees both sides of a connection."""

from __future__ import annotations

import pytest

from seism import registry
from seism.journal import ChangingExchange
from seism.proxy.witness import Witness
from seism_middleware.contract import DOWNSTREAM, UPSTREAM

REDIS_PUSH = b"*3\r\n$5\r\nLPUSH\r\n$1\r\na\r\n$1\r\nb\r\n"
POST = b"POST /mails HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


def told(protocol: str, *said: tuple[str, bytes]) -> list[tuple[str, str, bool]]:
    """(What, effect, done) of the exchanges of a conversation that then breaks."""
    found: list[ChangingExchange] = []
    codec = registry.load().protocol(protocol, "test")
    assert codec is not None
    running = codec()
    witness = Witness(running, "back", "127.0.0.1:9", found.append)
    for number, (stream, data) in enumerate(said):
        for piece in running.receive(stream, data):
            witness.saw(stream, piece, float(number))
    witness.close()
    assert {(each.proxy, each.client) for each in found} <= {("back", "127.0.0.1:9")}
    return [(each.what, each.effect, each.done) for each in found]


@pytest.mark.parametrize(
    ("protocol", "asked", "replied", "exchange"),
    [
        ("redis", REDIS_PUSH, b":1\r\n", ("LPUSH", "adds", True)),
        ("redis", REDIS_PUSH, b"-READONLY You can't write\r\n", ("LPUSH", "adds", False)),
        ("redis", REDIS_PUSH, b"", ("LPUSH", "adds", False)),
        ("redis", b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n", b":1\r\n", ("INCR", "counts", True)),
        ("http", POST + b"\r\n", CREATED, ("POST", "adds", True)),
        ("http", POST + b"Idempotency-Key: 1\r\n\r\n", CREATED, ("POST", "sets", True)),
        (
            "http",
            POST + b"\r\n",
            b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n",
            ("POST", "adds", False),
        ),
    ],
)
def test_one_exchange(
    protocol: str, asked: bytes, replied: bytes, exchange: tuple[str, str, bool]
) -> None:
    said = [(UPSTREAM, asked), *([(DOWNSTREAM, replied)] if replied else [])]
    assert told(protocol, *said) == [exchange]


def test_a_mail() -> None:
    conversation = [
        (DOWNSTREAM, b"220 mail ESMTP\r\n"),
        (UPSTREAM, b"MAIL FROM:<a@example.com>\r\n"),
        (DOWNSTREAM, b"250 2.1.0 Ok\r\n"),
        (UPSTREAM, b"DATA\r\n"),
        (DOWNSTREAM, b"354 go on\r\n"),
        (UPSTREAM, b"Subject: x\r\n\r\ny\r\n.\r\n"),
        (DOWNSTREAM, b"250 2.0.0 queued\r\n"),
    ]
    assert told("smtp", *conversation) == [("content", "adds", True)]
    assert told("smtp", *conversation[:-1]) == [("content", "adds", False)]


def test_what_reads_is_not_told() -> None:
    get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
    assert told("redis", (UPSTREAM, get), (DOWNSTREAM, b"$-1\r\n")) == []


def query(text: bytes) -> bytes:
    """PostgreSQL's simple query, after a start-up."""
    return b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0"


START = b"\0\0\0\x14\0\x03\0\0user\0seism\0\0"
READY = b"Z\0\0\0\x05I"


@pytest.mark.parametrize(
    ("text", "reply", "exchange"),
    [
        (b"INSERT INTO a VALUES (1)", b"C\0\0\0\x0fINSERT 0 1\0", ("INSERT", "adds", True)),
        (
            b"INSERT INTO a VALUES (1) ON CONFLICT DO NOTHING",
            b"C\0\0\0\x0fINSERT 0 1\0",
            ("INSERT", "sets", True),
        ),
        (b"UPDATE a SET b = 1", b"E\0\0\0\x05\0", ("UPDATE", "changes", False)),
        (b"COMMIT", b"C\0\0\0\x0bCOMMIT\0", ("COMMIT", "commits", True)),
    ],
)
def test_a_statement(text: bytes, reply: bytes, exchange: tuple[str, str, bool]) -> None:
    conversation = [
        (UPSTREAM, START),
        (DOWNSTREAM, b"R\0\0\0\x08\0\0\0\0" + READY),
        (UPSTREAM, query(text)),
        (DOWNSTREAM, reply + READY),
    ]
    assert told("postgresql", *conversation) == [exchange]
