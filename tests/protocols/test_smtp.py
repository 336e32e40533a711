"""SMTP: commands, messages, and what servers differ about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seism.protocols.smtp import Smtp
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.protocols.conformance import Conformance, Heard, Sample, heard
from tests.protocols.record import recorded

CHUNKING = Sample(
    "chunking",
    [
        (DOWNSTREAM, b"220 mail\r\n"),
        (UPSTREAM, b"EHLO a\r\n"),
        (DOWNSTREAM, b"250-mail\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
        (UPSTREAM, b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 8\r\n.\r\nQUIT\nBDAT 0 LAST\r\n"),
        (DOWNSTREAM, b"250 ok\r\n" * 4),
    ],
    ["EHLO", "MAIL", "RCPT", "BDAT", "BDAT"],
)
"""Written by hand: no server that the tests have knows BDAT (RFC 3030)."""
GREETED = [(DOWNSTREAM, b"220 mail\r\n")]


class TestSmtp(Conformance):
    codec = Smtp
    samples = [
        # A message follows DATA only if the server has asked for it.
        replace(one, skips="DATA" not in one.kinds)
        for one in (*recorded("smtp", "alice", "bob", "carol", "c2VjcmV0"), CHUNKING)
    ]


def said(*turns: tuple[str, bytes]) -> Heard:
    return heard(Smtp, [*GREETED, *turns])


def in_message(data: bytes) -> Heard:
    return said((UPSTREAM, b"DATA\r\n"), (DOWNSTREAM, b"354 go\r\n"), (UPSTREAM, data))


def test_the_banner_is_exchange_0() -> None:
    (piece,) = said().pieces[DOWNSTREAM]
    assert piece.exchange is not None
    assert (piece.exchange.number, piece.exchange.phase) == (0, "connect")
    assert piece.exchange.answered


def test_what_is_told_of_an_envelope() -> None:
    (one,) = [sample for sample in recorded("smtp") if sample.name == "smtplib"]
    exchanges = heard(Smtp, one.turns).exchanges()
    mail, rcpt, other = exchanges[2:5]
    assert mail.summary == "MAIL example.org"
    assert rcpt.summary == "RCPT example.net"
    assert mail.fields == {
        "command": "MAIL", "sender": "alice@example.org", "sender_domain": "example.org"
    }  # fmt: skip
    content = exchanges[6]
    assert content.fields == {
        **mail.fields, "command": "content",
        "recipient": "carol@example.net", "recipient_domain": "example.net",
    }  # fmt: skip
    assert other.fields["recipient"] == "carol@example.net"
    assert exchanges[1].fields == {"command": "AUTH", "mechanism": "PLAIN"}


def test_a_null_sender_has_no_domain() -> None:
    (one,) = said((UPSTREAM, b"MAIL FROM:<> SIZE=1\r\n")).exchanges()
    assert one.fields["sender"] == "" and one.summary == "MAIL"


@pytest.mark.parametrize("line", [b"NOOP\n", b"NO\rOP\r\n", b"NOOP \0\r\n"])
def test_a_line_that_servers_differ_about_is_refused(line: bytes) -> None:
    assert said((UPSTREAM, line)).error


@pytest.mark.parametrize("end", [b"\n.\r\n", b"\r\n.\n", b"\n.\n"])
def test_a_dot_that_servers_differ_about_is_refused(end: bytes) -> None:
    listener = in_message(b"Subject: x\r\n\r\nhello" + end + b"MAIL FROM:<a@b>\r\n")
    assert listener.error
    assert [one.kind for one in listener.exchanges()] == ["DATA"]


def test_only_a_lone_dot_ends_a_message() -> None:
    text = b"..\r\n. \r\n.x\r\n\r\n a.\r\n.\r.\r\n.\r\nQUIT\r\n"
    listener = in_message(text)
    assert [one.kind for one in listener.exchanges()] == ["DATA", "content", "QUIT"]
    for cut in range(1, 12):
        parts = Heard(Smtp())
        for stream, data in [*GREETED, (UPSTREAM, b"DATA\r\n"), (DOWNSTREAM, b"354 go\r\n")]:
            parts.hear(stream, data)
        for at in range(0, len(text), cut):
            parts.hear(UPSTREAM, text[at : at + cut])
        assert [one.request_size for one in parts.exchanges()] == [6, len(text) - 6, 6]


def test_a_message_is_not_held() -> None:
    listener = in_message(b"Subject: big\r\n\r\n")
    for _ in range(20):
        listener.hear(UPSTREAM, b"line\r\n" * 20_000)
        assert not listener.codec.held(UPSTREAM)


def test_a_message_that_is_refused_before_it_comes() -> None:
    listener = said((UPSTREAM, b"DATA\r\n"), (DOWNSTREAM, b"452 full\r\n"), (UPSTREAM, b"RSET\r\n"))
    assert [one.kind for one in listener.exchanges()] == ["DATA", "RSET"]


@pytest.mark.parametrize("command", [b"DATA", b"AUTH PLAIN", b"STARTTLS"])
def test_more_before_a_reply_that_has_to_be_waited_for(command: bytes) -> None:
    assert said((UPSTREAM, command + b"\r\nRSET\r\n")).codec.opaque


def test_a_skipped_data_is_followed_by_commands() -> None:
    listener = said((UPSTREAM, b"DATA\r\n"))
    listener.codec.skip(listener.exchanges()[0])
    listener.hear(UPSTREAM, b"RSET\r\n")
    listener.hear(DOWNSTREAM, b"250 ok\r\n")
    assert [(one.kind, one.answered) for one in listener.exchanges()] == [
        ("DATA", False), ("RSET", True)
    ]  # fmt: skip


def test_the_server_may_leave_at_any_time() -> None:
    listener = said((DOWNSTREAM, b"421-going\r\n421 down\r\n"))
    assert [piece.exchange for piece in listener.pieces[DOWNSTREAM][1:]] == [None, None]
    assert said((DOWNSTREAM, b"250 what?\r\n")).codec.opaque


@pytest.mark.parametrize(
    "reply", [b"250-a\r\n251 b\r\n", b"25 a\r\n", b"250_a\r\n", b"250 a\n", b"999 a\r\n"]
)
def test_what_is_no_reply_is_refused(reply: bytes) -> None:
    assert said((UPSTREAM, b"NOOP\r\n"), (DOWNSTREAM, reply)).error
