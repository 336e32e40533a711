"""Every fault of SMTP between a real server and smtplib: what a program sees, at each stage."""

from __future__ import annotations

import contextlib
import smtplib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from seism.errors import ConfigurationError
from tests.protocols.behind import LEFT, SAME, Behind, behind, outcome
from tests.protocols.outcome import check
from tests.protocols.sessions import smtp as sessions
from tests.timing import within

CODES = {
    "smtp_unavailable": 421,
    "smtp_mailbox_busy": 450,
    "smtp_local_error": 451,
    "smtp_storage": 452,
    "smtp_mailbox_unavailable": 550,
    "smtp_failed": 554,
}
STAGES = ("banner", "EHLO", "AUTH", "credentials", "MAIL", "RCPT", "DATA", "content")
TRIED = [
    (fault, stage)
    for fault in CODES
    for stage in STAGES
    if stage != "banner" or fault in ("smtp_unavailable", "smtp_failed")
]

GO_ON = [
    (fault, stage)
    for fault, number in CODES.items()
    for stage in ("MAIL", "RCPT", "DATA")
    if number != 421
]
"""Where the client's connection is as good as before."""


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with sessions.server() as port:
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[Behind]:
    with behind("smtp", server) as made:
        yield made


def connected(port: int) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=10)


def logged_in(client: smtplib.SMTP) -> None:
    """Word by word, so that there is a dialogue."""
    client.ehlo_or_helo_if_needed()
    client.user, client.password = sessions.USER, sessions.PASSWORD
    client.auth("LOGIN", client.auth_login, initial_response_ok=False)


def delivered(client: smtplib.SMTP) -> object:
    logged_in(client)
    return client.sendmail(sessions.SENDER, [sessions.RECIPIENT], sessions.MESSAGE)


def code(error: Any) -> object:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return error.recipients[sessions.RECIPIENT][0]
    return getattr(error, "smtp_code", "")


@pytest.mark.parametrize(("fault", "stage"), TRIED)
def test_what_smtplib_makes_of_it(proxy: Behind, fault: str, stage: str) -> None:
    proxy.fault(fault, {"command": stage.upper() if stage.isupper() else stage})

    def run() -> object:
        with contextlib.closing(connected(proxy.port)) as client:
            return delivered(client)

    raises = outcome(run, code)
    assert proxy.proxies.began
    proxy.heal()
    with connected(proxy.port) as client:
        assert delivered(client) == {}
    after = SAME if (fault, stage) in GO_ON else LEFT
    own = raises if (fault, stage) == ("smtp_mailbox_unavailable", "RCPT") else ""
    check("smtp", f"{fault}: {stage}", "smtplib", raises=raises, after=after, real=own)


@pytest.mark.parametrize(("fault", "stage"), GO_ON)
def test_the_same_connection_goes_on(proxy: Behind, fault: str, stage: str) -> None:
    with connected(proxy.port) as client:
        proxy.fault(fault, {"command": stage})
        with pytest.raises(smtplib.SMTPException) as raised:
            delivered(client)
        assert code(raised.value) == CODES[fault]
        proxy.heal()
        assert client.sendmail(sessions.SENDER, [sessions.RECIPIENT], sessions.MESSAGE) == {}


def test_a_dialogue_that_is_refused_can_be_begun_again(proxy: Behind) -> None:
    with connected(proxy.port) as client:
        proxy.fault("smtp_local_error", {"command": "credentials", "nth": 2})
        with pytest.raises(smtplib.SMTPAuthenticationError) as raised:
            logged_in(client)
        assert raised.value.smtp_code == 451
        proxy.heal()
        assert delivered(client) == {}


def test_the_servers_own_refusal_is_seen_alike(server: int, proxy: Behind) -> None:
    def refused(port: int, recipient: str) -> tuple[object, ...]:
        with connected(port) as client, pytest.raises(smtplib.SMTPRecipientsRefused) as raised:
            client.sendmail(sessions.SENDER, [recipient], sessions.MESSAGE)
        return raised.value.recipients[recipient]

    theirs = refused(server, "nobody@refused.example")
    proxy.fault("smtp_mailbox_unavailable", {"recipient": "bob@*"}, text="5.1.1 no such user")
    assert refused(proxy.port, sessions.RECIPIENT) == theirs


def test_a_slow_banner_is_late(proxy: Behind) -> None:
    proxy.fault("smtp_slow_banner", delay=300)
    start = time.monotonic()
    with connected(proxy.port) as client:
        assert within(time.monotonic() - start, 0.3)
        assert delivered(client) == {}


def test_a_client_that_does_not_wait_for_the_banner(proxy: Behind) -> None:
    proxy.fault("smtp_slow_banner", delay=5000)
    found = outcome(lambda: smtplib.SMTP("127.0.0.1", proxy.port, timeout=0.2))
    check("smtp", "smtp_slow_banner", "smtplib", raises=found, after=LEFT, real="")


def test_a_message_is_delivered_without_its_client_knowing(server: int, proxy: Behind) -> None:
    before = _count(server)
    proxy.fault("smtp_lost_ack")

    def run() -> object:
        with contextlib.closing(connected(proxy.port)) as client:
            return delivered(client)

    check("smtp", "smtp_lost_ack", "smtplib", raises=outcome(run, code), after=LEFT, real="")
    assert _count(server) == before + 1


def test_a_refused_message_is_not_delivered(server: int, proxy: Behind) -> None:
    before = _count(server)
    proxy.fault("smtp_failed", {"phase": "data"})
    with contextlib.closing(connected(proxy.port)) as client:
        with pytest.raises(smtplib.SMTPDataError) as raised:
            delivered(client)
    assert raised.value.smtp_code == 554
    assert _count(server) == before


def _count(server: int) -> int:
    """How many messages the server has been given: its answer to ``VRFY count``."""
    with connected(server) as client:
        return int(client.docmd("VRFY", "count")[1])


@pytest.mark.parametrize("text", ["", "two\r\nlines", "ü", "x" * 401])
def test_what_would_be_no_reply_is_refused(proxy: Behind, text: str) -> None:
    with pytest.raises(ConfigurationError, match="text"):
        proxy.fault("smtp_failed", text=text)
