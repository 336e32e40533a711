"""SMTP: commands and replies of RFC 5321, with pipelining, AUTH, CHUNKING and STARTTLS.

The server speaks first: its banner is exchange 0. A message is not held: its end is looked
for as it passes, by the dot (RFC 5321, 4.1.1.4) or by the size of a chunk (RFC 3030).
Lines that end in a bare LF, and dots between such, are refused: servers differ about them.
TLS begins once the server has said 220 to STARTTLS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from seism.errors import ProtocolError
from seism.protocols.base import ADDS, AUTH, COMMAND, CONNECT, SUMMARY_LIMIT, Exchange
from seism.protocols.smtp_faults import (
    BANNER,
    CONTENT,
    CREDENTIALS,
    DATA,
    FAULTS,
    LAST_WORDS,
)
from seism.protocols.stream import Parser, StreamCodec
from seism.toxics.base import Toxic

VERBS = {
    "EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "EXPN", "HELP",
    "QUIT", "AUTH", "STARTTLS", "ETRN", "XCLIENT", "XFORWARD",
}  # fmt: skip
OTHER = "other"
WAITED = {"DATA": 354, "AUTH": 334, CREDENTIALS: 334, "STARTTLS": 220}
"""Commands that a client has to wait for the reply to -> the one that changes what follows."""
EOL = b"\r\n"
_PATH = re.compile(r'(?:FROM|TO): ?<((?:"[^"]*"|[^<>"])*)>.*', re.IGNORECASE)
_DOMAIN = re.compile(r"[A-Za-z0-9.-]{1,80}")
_REPLY = re.compile(rb"([2-5][0-9][0-9])(?:([ -])[^\r\n\x00]*)?\r\n")
_CHUNK = re.compile(r"([0-9]{1,15})( LAST)?", re.IGNORECASE)
_DOT = re.compile(rb"\r?\n\.\r?\n")
END = b"\r\n.\r\n"


class Smtp(StreamCodec):
    """An exchange is a command and its reply; so is a message and the reply to its end."""

    name: ClassVar[str] = "smtp"
    changes: ClassVar[Mapping[str, str]] = {"content": ADDS, "BDAT": ADDS}
    faults: ClassVar[tuple[type[Toxic], ...]] = FAULTS
    last_words: ClassVar[dict[str, bytes]] = LAST_WORDS
    negotiates: ClassVar[bool] = True
    grants: ClassVar[bool] = True
    matches: ClassVar[dict[str, str]] = {
        "command": "the verb in upper case; banner, credentials (after AUTH), content (after DATA)",
        "sender": "the envelope's sender, an address",
        "sender_domain": "its domain",
        "recipient": "the envelope's last recipient, an address",
        "recipient_domain": "its domain",
        "mechanism": "of AUTH: the SASL mechanism",
    }

    phases: ClassVar[dict[str, str]] = {
        CONNECT: "the banner, which the server says first",
        AUTH: "AUTH, and each answer to a challenge",
        COMMAND: "any other command",
        DATA: "the message, and what the server says at its end",
    }

    def __init__(self) -> None:
        super().__init__()
        self.ask(Exchange(0, BANNER, CONNECT, BANNER, {"command": BANNER}))
        self._turned: Exchange | None = None
        """The exchange whose reply has changed what its client sends next."""
        self._envelope: dict[str, str] = {}

    def refuses(self, data: bytes) -> bool:
        return data[:1] in (b"4", b"5")

    def requests(self) -> Parser:
        stream = self.upstream
        while True:
            size = yield from stream.until(b"\n")
            line = bytes(stream.buffer[:size])
            if not line.endswith(EOL) or b"\r" in line[:-2] or b"\0" in line:
                raise ProtocolError("a line that does not end in CRLF")
            exchange, argument = self._command(line[:-2].decode("utf-8", "replace"))
            chunk = _chunk_size(argument) if exchange.kind == "BDAT" else 0
            yield stream.piece(size, exchange, first=True, last=not chunk)
            yield from stream.payload(chunk, exchange, last=True)
            while exchange.kind in WAITED:
                while not stream.buffer:
                    yield None
                if self.waits(exchange):
                    self.opaque = f"{exchange.kind}, and more before its reply"
                    return
                if self._turned is not exchange:
                    break
                if exchange.kind == "DATA":
                    yield from self._content()
                    break
                size = yield from stream.until(EOL)
                fields = {**exchange.fields, "command": CREDENTIALS}
                exchange = self._next(CREDENTIALS, AUTH, fields)
                yield stream.piece(size, exchange, first=True, last=True)

    def replies(self) -> Parser:
        stream = self.downstream
        while True:
            exchange, code, first, last = None, b"", True, False
            while not last:
                size = yield from stream.until(b"\n")
                line = _REPLY.fullmatch(bytes(stream.buffer[:size]))
                if line is None or (code and line[1] != code):
                    raise ProtocolError("no line of a reply")
                if first:
                    exchange, code = self.front(), line[1]
                    if exchange is None and code != b"421":  # RFC 5321, 3.8: it may come any time
                        self.opaque = "a reply to no request"
                        return
                last = line[2] != b"-"
                if last and exchange is not None and WAITED.get(exchange.kind) == int(code):
                    if exchange.kind == "STARTTLS":
                        self.turn_to_tls()
                    else:
                        self._turned = exchange
                yield stream.piece(size, exchange, first=first, last=last, cut=not last)
                first = False
            if self.opaque:
                return

    def grant(self, exchange: Exchange) -> bytes:
        if exchange.kind != "STARTTLS":
            return b""
        self.skip(exchange)
        self.turn_to_tls()
        return b"220 2.0.0 Ready to start TLS\r\n"

    def upgraded(self) -> None:
        super().upgraded()
        self._envelope = {}  # RFC 3207, 4.2: it begins anew

    def _content(self) -> Parser:
        """The message, up to and with its dot."""
        stream = self.upstream
        exchange = self._next(CONTENT, DATA, {"command": CONTENT, **self._envelope})
        self._envelope = {}
        tail, first, end = EOL, True, 0
        while not end:
            while not stream.buffer:
                yield None
            seen = tail + stream.buffer
            found = _DOT.search(seen)
            if found is not None:
                if found[0] != END:
                    raise ProtocolError("a dot that may or may not end the message")
                end = found.end() - len(tail)
            tail = bytes(seen[-len(END) + 1 :])
            size = end or len(stream.buffer)
            yield stream.piece(size, exchange, first=first, last=end > 0)
            first = False

    def _next(self, kind: str, phase: str, fields: dict[str, str]) -> Exchange:
        exchange = self.begin(kind, phase)
        exchange.fields, exchange.summary = fields, kind
        self.ask(exchange)
        return exchange

    def _command(self, line: str) -> tuple[Exchange, str]:
        """The exchange that a command line begins, and the line's argument."""
        word, _, argument = line.partition(" ")
        verb = word.upper()
        phase = {"AUTH": AUTH, "BDAT": DATA}.get(verb, COMMAND)
        exchange = self._next(verb if verb in VERBS else OTHER, phase, {"command": verb})
        if verb in ("MAIL", "RCPT"):
            who = "sender" if verb == "MAIL" else "recipient"
            path = _PATH.fullmatch(argument)
            address = path[1].rpartition(":")[2] if path else ""
            domain = address.rpartition("@")[2].lower() if "@" in address else ""
            if verb == "MAIL":
                self._envelope = {}
            self._envelope |= {who: address, f"{who}_domain": domain}
            if _DOMAIN.fullmatch(domain):
                exchange.summary = f"{verb} {domain}"[:SUMMARY_LIMIT]
        elif verb in ("RSET", "EHLO", "HELO"):
            self._envelope = {}
        elif verb == "AUTH":
            exchange.fields["mechanism"] = argument.partition(" ")[0].upper()
        if verb in ("MAIL", "RCPT", "DATA", "BDAT"):
            exchange.fields |= self._envelope
        return exchange, argument


def _chunk_size(argument: str) -> int:
    found = _CHUNK.fullmatch(argument)
    if found is None:
        raise ProtocolError("a chunk without its size")
    return int(found[1])
