"""LDAP v3: messages of BER with definite lengths (RFC 4511, 5.1), matched by their ids.

Of a request as much is held as says what it is, the whole of it up to 64 KiB; of a reply
its first few bytes. TLS begins after StartTLS has succeeded; the connection is opaque where a
SASL mechanism has put its own layer around the messages (RFC 4513, 5.2.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from seism.errors import ProtocolError
from seism.protocols.base import AUTH, COMMAND, HELD_LIMIT, SUMMARY_LIMIT, Exchange
from seism.protocols.ldap_faults import FAULTS, LAST_WORDS, granted
from seism.protocols.stream import Parser, Stream, StreamCodec, Wait
from seism.toxics.base import Toxic
from seism_middleware.contract import trace_of

OPERATIONS = {
    0x60: "bind", 0x42: "unbind", 0x63: "search", 0x66: "modify", 0x68: "add",
    0x4A: "delete", 0x6C: "modify_dn", 0x6E: "compare", 0x50: "abandon", 0x77: "extended",
}  # fmt: skip
"""Tags of requests (RFC 4511, 4.2 to 4.12)."""
UNANSWERED = {"unbind", "abandon"}
DESCRIBED = {"bind", "extended"}
"""Requests whose contents decide what follows."""
MORE = {0x64, 0x73, 0x79}
"""Tags of replies after which more follow: entry, reference, intermediate response."""
BIND_REPLY, DONE, EXTENDED_REPLY = 0x61, 0x65, 0x78
REPLIES = {BIND_REPLY, DONE, 0x67, 0x69, 0x6B, 0x6D, 0x6F, EXTENDED_REPLY} | MORE
SCOPES = ("base", "one", "sub", "children")
START_TLS = "1.3.6.1.4.1.1466.20037"
SESSION_TRACKING = b"1.3.6.1.4.1.21008.108.63.1"
"""draft-wahl-ldap-session: a control by which a client says on whose behalf it asks."""
SEQUENCE, INTEGER, OCTETS, ENUMERATED, CONTROLS = 0x30, 0x02, 0x04, 0x0A, 0xA0
MESSAGE_LIMIT = 2**31 - 1
HEAD = 32
"""Bytes in which a message's id, its tag and its result code are."""
_OID = re.compile(r"[0-9.]{1,80}")
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")


@dataclass(slots=True, eq=False)
class _Operation(Exchange):
    id: int = 0
    """Of its messages."""


class Ldap(StreamCodec):
    """An exchange is a request and all that carries its id: entries, references, result."""

    name: ClassVar[str] = "ldap"
    faults: ClassVar[tuple[type[Toxic], ...]] = FAULTS
    unanswered_kinds: ClassVar[frozenset[str]] = frozenset(UNANSWERED)
    last_words: ClassVar[dict[str, bytes]] = LAST_WORDS
    negotiates: ClassVar[bool] = True
    grants: ClassVar[bool] = True
    ordered: ClassVar[bool] = False
    matches: ClassVar[dict[str, str]] = {
        "operation": ", ".join(OPERATIONS.values()),
        "dn": "the name that is bound as, searched below or changed",
        "scope": "of a search: " + ", ".join(SCOPES),
        "oid": "of an extended operation: what it is",
        "mechanism": "of a bind: simple, or the SASL mechanism",
    }

    phases: ClassVar[dict[str, str]] = {AUTH: "a bind", COMMAND: "any other operation"}

    def __init__(self) -> None:
        super().__init__()
        self.ids: dict[int, _Operation] = {}
        """What is still to be answered, by message id."""
        self._sasl = False

    @property
    def unanswered(self) -> int:
        return len(self.ids)

    def skip(self, exchange: Exchange) -> None:
        if isinstance(exchange, _Operation) and self.ids.get(exchange.id) is exchange:
            del self.ids[exchange.id]

    def grant(self, exchange: Exchange) -> bytes:
        if exchange.fields.get("oid") != START_TLS or not isinstance(exchange, _Operation):
            return b""
        self.skip(exchange)
        self.turn_to_tls()
        return granted(exchange.id, START_TLS)

    def requests(self) -> Parser:
        stream = self.upstream
        while True:
            total = yield from self._total(stream)
            if self.opaque:
                return
            yield from stream.least(min(total, HEAD))
            number, tag, at, end = _envelope(stream.buffer, total)
            kind = OPERATIONS.get(tag)
            if kind is None or number == 0:
                raise ProtocolError("no request")
            if number in self.ids:
                raise ProtocolError("a message id that is in use")
            phase = AUTH if kind == "bind" else COMMAND
            replies = kind not in UNANSWERED
            self.count += 1
            exchange = _Operation(
                self.count, kind, phase, replies=replies, answered=not replies, id=number
            )
            if self.detail or kind in DESCRIBED:
                yield from stream.least(min(total, HELD_LIMIT))
                head = bytes(stream.buffer[: min(total, HELD_LIMIT)])
                try:
                    _describe(exchange, head, at, end)
                except ProtocolError:
                    if len(head) == total:
                        raise
            if kind == "abandon":
                abandoned = self.ids.pop(int.from_bytes(stream.buffer[at:end], "big"), None)
                if abandoned is not None:  # what still comes of it belongs to none
                    abandoned.answered = True
            if exchange.replies:
                self.ids[number] = exchange
            yield from stream.payload(total, exchange, first=True, last=True)

    def replies(self) -> Parser:
        stream = self.downstream
        while True:
            total = yield from self._total(stream)
            if self.opaque:
                return
            yield from stream.least(min(total, HEAD))
            number, tag, at, end = _envelope(stream.buffer, total)
            if tag not in REPLIES:
                raise ProtocolError("no reply")
            exchange = self.ids.get(number)  # none: a notice, or what was abandoned
            ends = tag not in MORE
            code = -1
            if tag in (BIND_REPLY, EXTENDED_REPLY):
                kind, start, stop = _element(stream.buffer, at, end)
                if kind != ENUMERATED or stop - start != 1:
                    raise ProtocolError("a result without its code")
                code = stream.buffer[start]
            if exchange is None:
                yield from stream.payload(total, None, first=True, last=True)
                continue
            if ends:
                del self.ids[number]
            first = not exchange.reply_size
            yield from stream.payload(total, exchange, first=first, last=ends)
            if code == 0 and exchange.fields.get("oid") == START_TLS:
                self.turn_to_tls()
                yield None
            if code == 0 and tag == BIND_REPLY:
                self._sasl = exchange.fields.get("mechanism", "simple") != "simple"

    def _total(self, stream: Stream) -> Wait[int]:
        """Bytes of the next message, with its own tag and length."""
        yield from stream.least(1)
        if stream.buffer[0] != SEQUENCE:
            if not self._sasl:
                raise ProtocolError("no LDAP message")
            self.opaque = "a SASL security layer"
            return 0
        yield from stream.least(2)
        yield from stream.least(2 + (stream.buffer[1] & 0x7F if stream.buffer[1] > 0x80 else 0))
        _, _, end = _element(stream.buffer, 0, MESSAGE_LIMIT)
        return end


def _element(data: bytes | bytearray, at: int, end: int) -> tuple[int, int, int]:
    """(tag, where its contents start, where they end) of what begins at ``at``.

    It ends at ``end`` or before; its contents need not be there. Raises ProtocolError.
    """
    if at + 2 > min(end, len(data)):
        raise ProtocolError("an element without its length")
    tag, size = data[at], data[at + 1]
    at += 2
    if size >= 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or at + count > min(end, len(data)):
            raise ProtocolError("a length that is not definite")
        size = int.from_bytes(data[at : at + count], "big")
        at += count
    if at + size > end:
        raise ProtocolError("an element that is longer than what it is in")
    return tag, at, at + size


def _envelope(data: bytes | bytearray, total: int) -> tuple[int, int, int, int]:
    """(message id, tag of the operation, where it starts, where it ends)."""
    _, at, _ = _element(data, 0, total)
    tag, start, at = _element(data, at, total)
    if tag != INTEGER or not 1 <= at - start <= 4 or data[start] >= 0x80:
        raise ProtocolError("a message without its id")
    number = int.from_bytes(data[start:at], "big")
    tag, start, end = _element(data, at, total)
    return number, tag, start, end


def _describe(exchange: Exchange, data: bytes, at: int, end: int) -> None:
    """Fields, summary and trace out of the operation's contents and the controls."""
    kind = exchange.kind
    fields = {"operation": kind}
    summary = kind
    if kind == "delete":
        fields["dn"] = _text(data[at:end])
    elif kind == "extended":
        tag, start, stop = _element(data, at, end)
        fields["oid"] = _text(data[start:stop])
        if _OID.fullmatch(fields["oid"]):
            summary += " " + fields["oid"]
    elif kind not in UNANSWERED:
        if kind == "bind":
            _, _, at = _element(data, at, end)  # the version
        _, start, stop = _element(data, at, end)
        fields["dn"] = _text(data[start:stop])
        if kind == "search":
            _, start, stop = _element(data, stop, end)
            scope = int.from_bytes(data[start:stop], "big")
            fields["scope"] = SCOPES[scope] if scope < len(SCOPES) else ""
            summary += " " + fields["scope"]
        elif kind == "bind":
            tag, start, stop = _element(data, stop, end)
            mechanism = "simple"
            if tag == 0xA3:
                _, start, stop = _element(data, start, stop)
                mechanism = _text(data[start:stop])
            fields["mechanism"] = mechanism
            if _MECHANISM.fullmatch(mechanism) or tag != 0xA3:
                summary += " " + mechanism
    exchange.fields, exchange.summary = fields, summary[:SUMMARY_LIMIT]
    if end < len(data):
        exchange.trace = _trace(data, end)


def _trace(data: bytes, at: int) -> str:
    """The trace id that a session-tracking control carries, as such or as a traceparent."""
    tag, at, end = _element(data, at, len(data))
    while tag == CONTROLS and at < end:
        _, start, at = _element(data, at, end)
        _, name, stop = _element(data, start, at)
        if data[name:stop] == SESSION_TRACKING:
            kind, start, stop = _element(data, stop, at)
            if kind != OCTETS:  # the criticality comes first
                kind, start, stop = _element(data, stop, at)
            _, start, stop = _element(data, start, stop)
            last = ""
            while start < stop:
                _, begin, start = _element(data, start, stop)
                last = _text(data[begin:start])
            return last if _TRACE_ID.fullmatch(last) else trace_of(last)
    return ""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
