"""SMTP: smtplib, and raw pipelined commands, against aiosmtpd."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.ports import free_port
from tests.processes import process, wait_for
from tests.protocols.record import Sessions

SESSIONS = Sessions()
USER, PASSWORD = "user", "secret"
SENDER, RECIPIENT = "alice@example.org", "bob@example.net"
MESSAGE = "Subject: hello\r\n\r\n.starts with a dot\r\n..two\r\nends\r\n"


@contextmanager
def server(tls: tuple[str, str] | None = None) -> Iterator[int]:
    """``tls``: the files of its certificate and key; without them, nobody trusts it."""
    port = free_port()
    argv = ("-m", "tests.protocols.smtp_server", str(port), *(tls or ()))
    with process(sys.executable, *argv) as child:
        wait_for(port, child)
        yield port


@SESSIONS.add(
    "smtplib",
    "banner EHLO AUTH MAIL RCPT RCPT DATA content MAIL RCPT RSET VRFY NOOP HELP"
    " MAIL RCPT DATA content QUIT",
)
def _(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=10) as client:
        client.login(USER, PASSWORD)
        client.sendmail(SENDER, [RECIPIENT, "carol@example.net"], MESSAGE)
        with contextlib.suppress(smtplib.SMTPRecipientsRefused):
            client.sendmail(SENDER, ["nobody@refused.example"], MESSAGE)
        client.verify(RECIPIENT)
        client.noop()
        client.help()
        client.sendmail(SENDER, [RECIPIENT], "Subject: big\r\n\r\n" + "line\r\n" * 2000)


@SESSIONS.add("auth-login", "banner EHLO AUTH credentials credentials MAIL RSET QUIT")
def _(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=10) as client:
        client.ehlo()
        client.user, client.password = USER, PASSWORD
        client.auth("LOGIN", client.auth_login, initial_response_ok=False)
        client.mail(SENDER)
        client.rset()


@SESSIONS.add("start-tls", "banner EHLO STARTTLS", "TLS")
def _(port: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=10) as client:
        client.starttls(context=context)
        client.sendmail(SENDER, [RECIPIENT], MESSAGE)


@SESSIONS.add("pipelined", "banner EHLO MAIL RCPT RCPT DATA content MAIL RCPT DATA RSET other QUIT")
def _(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        replies = connection.makefile("rb")

        def reply() -> bytes:
            while (line := replies.readline())[3:4] == b"-":
                pass
            return line

        def say(*lines: bytes) -> list[bytes]:
            connection.sendall(b"".join(line + b"\r\n" for line in lines))
            return [reply() for _ in lines]

        reply()
        say(b"EHLO client.example")
        group = say(b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>",
                    b"rcpt to:<nobody@refused.example>", b"DATA")  # fmt: skip
        assert [line[:3] for line in group] == [b"250", b"250", b"550", b"354"]
        say(b".")
        group = say(b"MAIL FROM:<>", b"RCPT TO:<nobody@refused.example>", b"DATA")
        assert group[-1].startswith(b"503"), group
        say(b"RSET")
        say(b"FROB x")
        connection.sendall(b"QUIT\r\n")
        assert reply().startswith(b"221")
