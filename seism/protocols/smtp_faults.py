"""What a mail server can answer instead of the truth, at each stage (RFC 5321, 4.2).

A command that is refused never reaches the server. Where the server has asked for what is
refused, its own state follows: an AUTH dialogue is cancelled, a mail transaction is reset,
and the connection ends behind a refused message, which so is not delivered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from seism.errors import ConfigurationError
from seism.options import option
from seism.protocols.base import AUTH, COMMAND, CONNECT, Exchange
from seism.protocols.fault import Answer, Close, Delay, Fault, Reaction, Replace
from seism.toxics.base import HOUR_MS, Rng, Toxic

DATA = "data"
"""Phase of the message itself."""
BANNER, CREDENTIALS, CONTENT = "banner", "credentials", "content"
RFC_5321 = "https://www.rfc-editor.org/rfc/rfc5321"
_INSTEAD = {CREDENTIALS: b"*\r\n", "DATA": b"RSET\r\n"}
"""What the server gets so that it is where its client thinks it is: out of the dialogue (RFC
4954, 4), without a mail transaction."""
_TEXT = re.compile(r"[\t\x20-\x7e]{1,400}")


class SmtpReply(Fault):
    """Base of the faults that answer with a reply code."""

    __slots__ = ()

    protocol: ClassVar[str] = "smtp"
    phases: ClassVar[tuple[str, ...]] = (AUTH, COMMAND, DATA)
    source: ClassVar[str] = f"{RFC_5321}#section-4.2.3"
    closes: ClassVar[bool] = False
    """The server closes the connection behind it."""
    text: str

    def __post_init__(self) -> None:
        if not _TEXT.fullmatch(self.text):
            raise ConfigurationError(
                f"text: {self.text!r} is not allowed, it must be 1 to 400 characters of ASCII"
            )

    def fits(self, exchange: Exchange) -> bool:
        return exchange.kind != "QUIT" and Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        reply = f"{self.code} {self.text}\r\n".encode()
        if exchange.kind in _INSTEAD and not self.closes:
            return Replace(reply, request=_INSTEAD[exchange.kind])
        ends = self.closes or exchange.kind == CONTENT
        return Answer(reply, Close() if ends else None)


@dataclass(frozen=True, slots=True)
class SmtpUnavailable(SmtpReply):
    """The server goes down, or takes no more connections: it says so, and closes."""

    type: ClassVar[str] = "smtp_unavailable"
    swept: ClassVar[str] = "421"
    phases: ClassVar[tuple[str, ...]] = ()
    code: ClassVar[str] = "421"
    source: ClassVar[str] = f"{RFC_5321}#section-3.8"
    closes: ClassVar[bool] = True

    text: str = option("4.3.2 Service not available, closing", help="what follows the code")


@dataclass(frozen=True, slots=True)
class SmtpMailboxBusy(SmtpReply):
    """The mailbox can't be had now: it is locked, or greylisted."""

    type: ClassVar[str] = "smtp_mailbox_busy"
    code: ClassVar[str] = "450"

    text: str = option("4.2.1 Mailbox unavailable, try again later", help="what follows the code")


@dataclass(frozen=True, slots=True)
class SmtpLocalError(SmtpReply):
    """An error in processing, on the server's side."""

    type: ClassVar[str] = "smtp_local_error"
    swept: ClassVar[str] = "451"
    code: ClassVar[str] = "451"

    text: str = option("4.3.0 Local error in processing", help="what follows the code")


@dataclass(frozen=True, slots=True)
class SmtpStorage(SmtpReply):
    """The server's disk is full, or there are too many recipients."""

    type: ClassVar[str] = "smtp_storage"
    swept: ClassVar[str] = "disk full"
    lasts: ClassVar[bool] = True
    code: ClassVar[str] = "452"

    text: str = option("4.3.1 Insufficient system storage", help="what follows the code")


@dataclass(frozen=True, slots=True)
class SmtpMailboxUnavailable(SmtpReply):
    """There is no such mailbox, or no access to it."""

    type: ClassVar[str] = "smtp_mailbox_unavailable"
    code: ClassVar[str] = "550"

    text: str = option("5.1.1 Mailbox unavailable", help="what follows the code")


@dataclass(frozen=True, slots=True)
class SmtpFailed(SmtpReply):
    """The transaction has failed; as a banner: there is no SMTP service here."""

    type: ClassVar[str] = "smtp_failed"
    phases: ClassVar[tuple[str, ...]] = ()
    code: ClassVar[str] = "554"
    source: ClassVar[str] = f"{RFC_5321}#section-3.1"

    text: str = option("5.7.1 Transaction failed", help="what follows the code")


@dataclass(frozen=True, slots=True)
class SmtpSlowBanner(Fault):
    """The banner comes late, as that of a server that looks its clients up, or tarpits them."""

    type: ClassVar[str] = "smtp_slow_banner"
    protocol: ClassVar[str] = "smtp"
    phases: ClassVar[tuple[str, ...]] = (CONNECT,)
    source: ClassVar[str] = f"{RFC_5321}#section-4.5.3.2.1"

    delay: int = option(5000, help="how late", unit="ms", minimum=0, maximum=HOUR_MS)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Delay(self.delay / 1000)


@dataclass(frozen=True, slots=True)
class SmtpLostAck(Fault):
    """The message is delivered, and the connection closes before its client is told.

    A client that sends it again delivers it twice.
    """

    type: ClassVar[str] = "smtp_lost_ack"
    swept: ClassVar[str] = "acknowledgement lost"
    protocol: ClassVar[str] = "smtp"
    phases: ClassVar[tuple[str, ...]] = (DATA,)
    source: ClassVar[str] = "https://www.rfc-editor.org/rfc/rfc1047"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Replace(b"", Close())


LAST_WORDS = {"421": b"421 4.4.2 Timeout exceeded, closing connection\r\n"}

FAULTS: tuple[type[Toxic], ...] = (
    SmtpUnavailable, SmtpMailboxBusy, SmtpLocalError, SmtpStorage, SmtpMailboxUnavailable,
    SmtpFailed, SmtpSlowBanner, SmtpLostAck,
)  # fmt: skip
