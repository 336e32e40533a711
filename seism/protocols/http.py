"""HTTP/1.1 and 1.0: where heads and bodies end, as RFC 9112 has it.

A head is held until it is whole, 64 KiB at most, or until it cannot become one: what is not
HTTP is not waited for. A body is passed on as it comes, by its
length, its chunks, or until the server closes. What two readers could cut differently is
refused, so that a rule never hits another request than the server sees: bare CR or LF,
folded fields, Content-Length twice or beside Transfer-Encoding, and whatever chunk sizes
and field names the grammar does not have.

After ``CONNECT``, ``101 Switching Protocols`` and the preface of HTTP/2 the connection is
opaque.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from seism.errors import ProtocolError
from seism.protocols.base import ADDS, CHANGES, HELD_LIMIT, SETS, SUMMARY_LIMIT, Exchange, Piece
from seism.protocols.http_faults import FAULTS
from seism.protocols.stream import Parser, Stream, StreamCodec, Wait
from seism.toxics.base import Toxic
from seism_middleware.contract import trace_of

EOL = b"\r\n"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_REQUEST_BEGINS = re.compile(_TOKEN + rb"(?: [\x21-\x7e\x80-\xff]*(?: [HTP/1.0]*)?)?\r?")
_STATUS_BEGINS = re.compile(rb"HTTP/1\.[\t\x20-\x7e\x80-\xff]*\r?")
_OPENING = 200
"""Bytes in which a line that has no end yet is looked at."""
_BARE_LF = re.compile(rb"(?<!\r)\n")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
"""The blanks around the value are part of it: a pattern that could give them to either of two
groups would try every way of dividing them."""
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_WORD = re.compile(r"|v[0-9]{1,2}|[A-Za-z][A-Za-z_.\-]{0,23}")
PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
UNTIL_CLOSE = -1
CHUNKED = -2


class Http(StreamCodec):
    """An exchange is a request and all that answers it, interim (1xx) replies included."""

    name: ClassVar[str] = "http"
    changes: ClassVar[Mapping[str, str]] = {
        "POST": ADDS,
        "PATCH": CHANGES,
        "PUT": SETS,
        "DELETE": SETS,
    }
    faults: ClassVar[tuple[type[Toxic], ...]] = FAULTS
    matches: ClassVar[dict[str, str]] = {
        "method": "the method, such as GET",
        "path": "the target's path, as sent and without its query",
        "query": "the target's query, without its question mark",
        "host": "the Host field",
        "content_type": "the request's Content-Type field",
        "user_agent": "the User-Agent field",
    }

    def __init__(self) -> None:
        super().__init__()
        self._until_close = False

    def effect(self, exchange: Exchange, data: bytes) -> str:
        found = super().effect(exchange, data)
        return SETS if found == ADDS and b"idempotency-key" in data.lower() else found

    def refuses(self, data: bytes) -> bool:
        return data[:5] == b"HTTP/" and data[9:10] in (b"4", b"5")

    def requests(self) -> Parser:
        stream = self.upstream
        while True:
            while not stream.buffer:
                yield None
            if stream.buffer.startswith(b"\r"):  # RFC 9112, 2.2: empty lines before a request
                yield from stream.least(2)
                if not stream.buffer.startswith(EOL):
                    raise ProtocolError("a bare CR")
                yield stream.piece(2, None)
                continue
            size = yield from _head_size(stream, _is_request)
            if stream.buffer.startswith(PREFACE):
                self.opaque = "HTTP/2"
                return
            start, fields = _head(bytes(stream.buffer[: size - 4]))
            line = _REQUEST.fullmatch(start)
            if line is None:
                raise ProtocolError("no request line")
            length = _length(fields, line[3] == b"1", 0)
            exchange = self.begin(line[1].decode())
            self.ask(exchange)
            if self.detail:
                _describe(exchange, line[2].decode("latin-1"), fields)
            yield stream.piece(size, exchange, first=True, last=not length)
            if length and fields.get(b"expect", b"").lower() == b"100-continue":
                # A final reply instead of 100 leaves open whether the body will follow.
                while not stream.buffer:
                    yield None
                if exchange.answered:
                    self.opaque = "a refused Expect: 100-continue"
                    return
            yield from _body(stream, length, exchange)
            if exchange.kind == "CONNECT":
                while not stream.buffer:
                    yield None
                if self.waits(exchange):
                    self.opaque = "CONNECT"
                    return

    def replies(self) -> Parser:
        stream = self.downstream
        while True:
            while not stream.buffer:
                yield None
            exchange = self.front()
            if exchange is None:  # such as 408 before a close
                self.opaque = "a reply to no request"
                return
            first, status, chunks = True, 100, True
            fields: dict[bytes, bytes] = {}
            while status < 200:
                size = yield from _head_size(stream, _is_status)
                start, fields = _head(bytes(stream.buffer[: size - 4]))
                line = _STATUS.fullmatch(start)
                if line is None:
                    raise ProtocolError("no status line")
                status, chunks = int(line[2]), line[1] == b"1"
                if status == 101 or (exchange.kind == "CONNECT" and 200 <= status < 300):
                    self.opaque = "101 Switching Protocols" if status == 101 else "CONNECT"
                    yield stream.piece(size, exchange, first=first, last=True)
                    return
                if status < 200:
                    yield stream.piece(size, exchange, first=first)
                    first = False
            length = 0
            if exchange.kind != "HEAD" and status not in (204, 304):
                length = _length(fields, chunks, UNTIL_CLOSE)
            self._until_close = length == UNTIL_CLOSE
            yield stream.piece(size, exchange, first=first, last=not length)
            yield from _body(stream, length, exchange)

    def eof(self, stream: str) -> Iterator[Piece]:
        exchange = self.front()
        if stream == "downstream" and self._until_close and exchange is not None:
            exchange.answered = True
        yield from super().eof(stream)


def _head_size(stream: Stream, starts: Callable[[bytes, bool], bool]) -> Wait[int]:
    """The size of a head, once it is whole.

    ``starts`` says of the first line, and whether that is whole, if it can be one. Raises
    ProtocolError as soon as what is there cannot be a head.
    """
    looked, started = 0, False
    while (at := stream.buffer.find(EOL + EOL, looked, HELD_LIMIT)) < 0:
        if len(stream.buffer) >= HELD_LIMIT:
            raise ProtocolError(f"a head of more than {HELD_LIMIT} bytes")
        if _BARE_LF.search(stream.buffer, looked):
            raise ProtocolError("a bare LF")
        if not started:
            end = stream.buffer.find(EOL)
            started = end >= 0 or len(stream.buffer) > _OPENING
            if not starts(bytes(stream.buffer[: end if end >= 0 else _OPENING]), end >= 0):
                raise ProtocolError("no start of a head")
        looked = max(0, len(stream.buffer) - 3)
        yield
    return at + 4


def _is_request(line: bytes, whole: bool) -> bool:
    if PREFACE.startswith(line):
        return True
    return bool((_REQUEST if whole else _REQUEST_BEGINS).fullmatch(line))


def _is_status(line: bytes, whole: bool) -> bool:
    if len(line) < 7 and not whole:
        return b"HTTP/1.".startswith(line)
    return bool((_STATUS if whole else _STATUS_BEGINS).fullmatch(line))


def _line_size(stream: Stream) -> Wait[int]:
    """The size of a line with its end. Raises ProtocolError for a bare LF."""
    size = yield from stream.until(b"\n")
    if stream.buffer[:size][-2:] != EOL:
        raise ProtocolError("a bare LF")
    return size


def _head(head: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Its first line, and its fields with lower-case names; without the empty line.

    Fields that come more than once are joined by commas (RFC 9110, 5.3).
    """
    start, *lines = head.split(EOL)
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise ProtocolError("a line of a head that is no field")
        fields.setdefault(found[1].lower(), []).append(found[2].strip(b" \t"))
    return start, {name: b",".join(values) for name, values in fields.items()}


def _length(fields: dict[bytes, bytes], chunks: bool, without: int) -> int:
    """Bytes of the body, ``CHUNKED`` or, if no field says it, ``without``.

    ``chunks``: the sender's version has them. RFC 9112, 6.3, without its leniences.
    """
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if coding is not None:
        if length is not None or not chunks or coding.lower() != b"chunked":
            raise ProtocolError("a body whose end is ambiguous")
        return CHUNKED
    if length is None:
        return without
    if not _LENGTH.fullmatch(length):
        raise ProtocolError("no Content-Length")
    return int(length)


def _body(stream: Stream, length: int, exchange: Exchange) -> Parser:
    """The pieces after a head."""
    if length == UNTIL_CLOSE:
        stream.payload_left = 1 << 62
        while True:
            while not stream.buffer:
                yield None
            yield stream.piece(len(stream.buffer), exchange)
    if length != CHUNKED:
        yield from stream.payload(length, exchange, last=True)
        return
    size = 1
    while size:
        line = yield from _line_size(stream)
        found = _CHUNK.fullmatch(bytes(stream.buffer[: line - 2]))
        if found is None:
            raise ProtocolError("no chunk size")
        size = int(found[1], 16)
        yield stream.piece(line, exchange)
        if size:
            yield from stream.payload(size, exchange)
            yield from stream.least(2)
            if not stream.buffer.startswith(EOL):
                raise ProtocolError("a chunk that is longer than its size")
            yield stream.piece(2, exchange)
    while True:  # the trailers, and the empty line after them
        line = yield from _line_size(stream)
        if line > 2 and not _FIELD.fullmatch(bytes(stream.buffer[: line - 2])):
            raise ProtocolError("a trailer that is no field")
        yield stream.piece(line, exchange, last=line == 2)
        if line == 2:
            return


def _describe(exchange: Exchange, target: str, fields: dict[bytes, bytes]) -> None:
    _, _, beyond = target.partition("://")
    if beyond and not target.startswith("/"):  # absolute form
        target = "/" + beyond.partition("/")[2]
    path, _, query = target.partition("?")
    exchange.fields = {"method": exchange.kind, "path": path, "query": query}
    for name in ("host", "content_type", "user_agent"):
        value = fields.get(name.replace("_", "-").encode())
        if value is not None:
            exchange.fields[name] = value.decode("latin-1")
    exchange.trace = trace_of(fields.get(b"traceparent", b"").decode("latin-1"))
    if exchange.kind != "CONNECT":
        exchange.summary = f"{exchange.kind} {_shape(path)}"[:SUMMARY_LIMIT]
    else:
        exchange.summary = "CONNECT"


def _shape(path: str) -> str:
    """``path`` with all that is no word, so may be an identifier or a token, as ``{id}``."""
    return "/".join(part if _WORD.fullmatch(part) else "{id}" for part in path[:1000].split("/"))
