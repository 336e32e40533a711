"""What an HTTP server, or what stands before it, can answer instead of the truth.

Faults that keep a request from the server answer it whole, so the connection goes on as if
the server had: but for a request that waits for ``100 Continue``, whose body nobody knows to
follow, and one of HTTP/1.0, the connection is closed then, as a server would do.

The codes and their meaning are those of RFC 9110 and RFC 6585.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

from seism.errors import ConfigurationError
from seism.options import option
from seism.protocols.base import HELD_LIMIT, Exchange, Piece
from seism.protocols.fault import (
    Answer,
    Answered,
    Began,
    Close,
    Commands,
    Edit,
    Fault,
    Reaction,
    Reset,
    ToClient,
    ToServer,
    Wake,
)
from seism.toxics.base import CHANGED, CLOSED, HOUR_MS, PASSED, RESET, Rng, Toxic

RFC_9110 = "https://www.rfc-editor.org/rfc/rfc9110"
RFC_9112 = "https://www.rfc-editor.org/rfc/rfc9112"
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = {"content-length", "transfer-encoding"}
_MOST_BODY = 1 << 40


def _check(name: str, value: str, where: str) -> None:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ConfigurationError(f"{where}: {name!r} with {value!r} is no field of a head")
    if name.lower() in _FRAMING:
        raise ConfigurationError(f"{where}: {name} decides where a message ends, see http_length")


class HttpFault(Fault):
    """Base of the faults of HTTP."""

    __slots__ = ()

    protocol: ClassVar[str] = "http"
    bodies: ClassVar[bool] = False
    """It happens to the body of a reply, which one to HEAD has not."""

    def fits(self, exchange: Exchange) -> bool:
        # What follows CONNECT, if it is granted, is no HTTP.
        if exchange.kind == "CONNECT" or (self.bodies and exchange.kind == "HEAD"):
            return False
        return Fault.fits(self, exchange)


@dataclass(frozen=True, slots=True)
class HttpStatus(HttpFault):
    """The request never reaches the server: this is the answer.

    503 with Retry-After is an overloaded server, 429 a limit that is reached, 500 a bug, 502
    and 504 a gateway that gets nothing sensible, or nothing in time, from behind it.
    """

    type: ClassVar[str] = "http_status"
    swept: ClassVar[str] = "503"
    code: ClassVar[str] = "503, or any other"
    source: ClassVar[str] = f"{RFC_9110}#section-15"

    status: int = option(503, help="the status code", minimum=200, maximum=599)
    retry_after: int = option(
        0, help="seconds of the Retry-After field, 0: none", unit="s", minimum=0, maximum=1 << 31
    )
    headers: dict[str, str] = option({}, help="further fields of the head")
    body: str = option("", help="the body, as text in UTF-8; its type is text/plain")

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            _check(name, value, "headers")
        if self.body and self.status in (204, 304):
            raise ConfigurationError(f"body: {self.status} has none")

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        body = self.body.encode()
        fields = dict(self.headers)
        if self.retry_after:
            fields["Retry-After"] = str(self.retry_after)
        if body:
            fields.setdefault("Content-Type", "text/plain; charset=utf-8")
        if self.status not in (204, 304):
            fields["Content-Length"] = str(len(body))
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = ""
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{n}: {v}" for n, v in fields.items())]
        head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        return _Status(head, b"" if exchange.kind == "HEAD" else body)


class _Status(Answer):
    """``Answer``, and the connection ends where the client could not tell what comes next."""

    def __init__(self, head: bytes, body: bytes) -> None:
        super().__init__(head + b"\r\n" + body)
        self._closing = head + b"Connection: close\r\n\r\n" + body

    def request(self, piece: Piece, now: float) -> Commands:
        if piece.first:
            head = piece.data.lower()
            waits = not piece.last and b"\r\nexpect: 100-continue" in head
            if waits or b" http/1.0\r\n" in head:
                self._reply, self._then = self._closing, Close()
            if waits:
                yield Began()
                yield from self._answer()
                return
        yield from super().request(piece, now)


@dataclass(frozen=True, slots=True)
class HttpEmpty(HttpFault):
    """The server closes the connection without a byte, as one does that has crashed."""

    type: ClassVar[str] = "http_empty"
    source: ClassVar[str] = f"{RFC_9112}#section-9.5"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Answer(b"", Close())


@dataclass(frozen=True, slots=True)
class HttpGarbage(HttpFault):
    """The answer is no HTTP: random bytes, and the connection is closed."""

    type: ClassVar[str] = "http_garbage"
    source: ClassVar[str] = f"{RFC_9112}#section-2.2"

    bytes: int = option(64, help="how many", unit="bytes", minimum=1, maximum=HELD_LIMIT)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        # Never a beginning of HTTP, and an end of line, so that it is read as a line.
        noise = (rng.randint(0x80, 0xFF) for _ in range(self.bytes))
        return Answer(bytes(noise) + b"\r\n\r\n", Close())


@dataclass(frozen=True, slots=True)
class HttpTruncated(HttpFault):
    """The connection ends in the middle of the reply's body."""

    type: ClassVar[str] = "http_truncated"
    bodies: ClassVar[bool] = True
    source: ClassVar[str] = f"{RFC_9112}#section-8"

    bytes: int = option(
        1, help="how much of the body arrives, as it is sent; all but one, where it is shorter",
        unit="bytes", minimum=0, maximum=_MOST_BODY,
    )  # fmt: skip
    reset: bool = option(False, help="true: RST instead of FIN")

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Truncated(self.bytes, Reset() if self.reset else Close())


class _Body(Edit):
    """Tells a reply's final head, which is one piece, from its body and interim replies."""

    def __init__(self) -> None:
        self._headed = False

    def edit(self, piece: Piece) -> bytes:
        if self._headed:
            return self.body(piece)
        if piece.data[9:10] == b"1":
            return piece.data
        self._headed = True
        return self.head(piece)

    def head(self, piece: Piece) -> bytes:
        """What becomes of the head of the final reply."""
        return piece.data

    def body(self, piece: Piece) -> bytes:
        """What becomes of what follows it."""
        return piece.data


class _Truncated(_Body):
    def __init__(self, size: int, end: Close | Reset) -> None:
        super().__init__()
        self._left = size
        self._end = end
        self._over = False

    def reply(self, piece: Piece, now: float) -> Commands:
        if not self._headed:
            yield from super().reply(piece, now)
        elif not self._over and len(piece.data) <= self._left and not piece.last:
            self._left -= len(piece.data)
            yield ToClient(piece.data)
        elif not self._over:
            self._over = True
            self.outcome = RESET if isinstance(self._end, Reset) else CLOSED
            yield Began()
            yield ToClient(piece.data[: min(self._left, len(piece.data) - piece.last)])
            yield self._end


@dataclass(frozen=True, slots=True)
class HttpLength(HttpFault):
    """Content-Length is wrong: the client waits for more, or leaves some behind.

    Replies without it are left alone.
    """

    type: ClassVar[str] = "http_length"
    bodies: ClassVar[bool] = True
    source: ClassVar[str] = f"{RFC_9110}#section-8.6"

    error: int = option(
        10, help="how much too high it is; below 0, too low", unit="bytes", minimum=-_MOST_BODY,
        maximum=_MOST_BODY,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.error:
            raise ConfigurationError("error: 0 is not allowed, the length would be right")

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Length(self.error)


_LENGTH = re.compile(rb"(?<=\r\ncontent-length:)[ \t]*([0-9]+)", re.IGNORECASE)


class _Length(_Body):
    def __init__(self, error: int) -> None:
        super().__init__()
        self._error = error

    def head(self, piece: Piece) -> bytes:
        return _LENGTH.sub(
            lambda found: b" %d" % max(0, int(found[1]) + self._error), piece.data, count=1
        )


@dataclass(frozen=True, slots=True)
class HttpChunk(HttpFault):
    """A chunk's size is no number; the connection is closed behind it.

    Replies without chunks, but with a body, get to be of chunks.
    """

    type: ClassVar[str] = "http_chunk"
    bodies: ClassVar[bool] = True
    source: ClassVar[str] = f"{RFC_9112}#section-7.1"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Chunk()


class _Chunk(_Body):
    outcome = CLOSED

    def __init__(self) -> None:
        super().__init__()
        self._over = False

    def head(self, piece: Piece) -> bytes:
        if piece.last or b"\r\ntransfer-encoding:" in piece.data.lower():
            return piece.data
        lines = piece.data.removesuffix(b"\r\n\r\n").split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith(b"content-length:")]
        return b"\r\n".join((*kept, b"Transfer-Encoding: chunked", b"", b""))

    def reply(self, piece: Piece, now: float) -> Commands:
        if not self._headed:
            yield from super().reply(piece, now)
        elif not self._over:
            self._over = True
            yield Began()
            yield ToClient(b"size?\r\n" + piece.data)
            yield Close()


@dataclass(frozen=True, slots=True)
class HttpCut(HttpFault):
    """The connection ends (FIN) before the reply does, and what has come looks whole.

    Of a body with a length the end is missing; of one in chunks only the last chunk, which says
    that there are no more. A client that checks neither takes half a reply for the whole.
    """

    type: ClassVar[str] = "http_cut"
    swept: ClassVar[str] = "cut"
    bodies: ClassVar[bool] = True
    source: ClassVar[str] = f"{RFC_9112}#section-8"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Cut()


_LAST_CHUNK = b"0\r\n\r\n"


class _Cut(_Body):
    outcome = CLOSED

    def __init__(self) -> None:
        super().__init__()
        self._chunked = False

    def head(self, piece: Piece) -> bytes:
        self._chunked = b"\r\ntransfer-encoding:" in piece.data.lower()
        return piece.data

    def reply(self, piece: Piece, now: float) -> Commands:
        if not self._headed or not piece.last:
            yield from super().reply(piece, now)
            return
        half = piece.data[: len(piece.data) // 2]
        yield Began()
        yield ToClient(piece.data.removesuffix(_LAST_CHUNK) if self._chunked else half)
        yield Close()


@dataclass(frozen=True, slots=True)
class HttpDrip(HttpFault):
    """The body comes in drips: so many bytes, a pause, and again."""

    type: ClassVar[str] = "http_drip"
    bodies: ClassVar[bool] = True
    source: ClassVar[str] = f"{RFC_9112}#section-6"

    bytes: int = option(1, help="how much at once", unit="bytes", minimum=1, maximum=HELD_LIMIT)
    interval: int = option(100, help="the pause", unit="ms", minimum=1, maximum=HOUR_MS)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Drip(self.bytes, self.interval / 1000)


class _Drip(_Body):
    outcome = PASSED

    def __init__(self, size: int, pause: float) -> None:
        super().__init__()
        self._size, self._pause = size, pause
        self._waiting = bytearray()
        self._whole = self._running = self._free = False

    def reply(self, piece: Piece, now: float) -> Commands:
        if not self._headed or self._free:
            yield from super().reply(piece, now)
            return
        self._waiting += piece.data
        self._whole = piece.last
        self.held = len(self._waiting)
        if not self._running:
            self._running = True
            yield Began()
            yield from self.due(now)

    def due(self, now: float) -> Commands:
        data = bytes(self._waiting[: self._size])
        del self._waiting[: self._size]
        self.held = len(self._waiting)
        if data:
            yield ToClient(data)
        if self._whole and not self._waiting:
            yield Answered()
        elif data:
            yield Wake(now + self._pause)
        else:
            self._running = False

    def removed(self, now: float) -> Commands:
        self._free = True
        yield ToClient(bytes(self._waiting))
        self._waiting.clear()
        self.held = 0
        if self._whole:
            yield Answered()


@dataclass(frozen=True, slots=True)
class HttpDuplicate(HttpFault):
    """The reply comes twice: the second one is the answer to nothing, or to what comes next.

    Replies of more than 64 KiB are left alone.
    """

    type: ClassVar[str] = "http_duplicate"
    source: ClassVar[str] = f"{RFC_9112}#section-9.3.2"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Duplicate()


class _Duplicate(Edit):
    def __init__(self) -> None:
        self._copy = bytearray()
        self._size = 0

    def edit(self, piece: Piece) -> bytes:
        self._size += len(piece.data)
        if self._size > HELD_LIMIT:
            self._copy.clear()
            return piece.data
        self._copy += piece.data
        return piece.data + bytes(self._copy) if piece.last else piece.data


@dataclass(frozen=True, slots=True)
class HttpHeader(HttpFault):
    """A field of the head is another one, is new, or is gone."""

    type: ClassVar[str] = "http_header"
    source: ClassVar[str] = f"{RFC_9110}#section-5"

    name: str = option(help="the field's name")
    value: str = option("", help="what it says now, empty: it is removed")
    of: str = option("reply", help="whose head", choices=("reply", "request"))

    def __post_init__(self) -> None:
        _check(self.name, self.value, "name")

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        if self.of == "request":
            return _RequestHeader(self.name, self.value)
        return _ReplyHeader(self.name, self.value)


def _rewritten(head: bytes, name: str, value: str) -> bytes:
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    old = f"{name}:".lower().encode()
    kept = [line for line in lines if not line.lower().startswith(old)]
    new = [f"{name}: {value}".encode("latin-1")] if value else []
    return b"\r\n".join((*kept, *new, b"", b""))


class _ReplyHeader(_Body):
    def __init__(self, name: str, value: str) -> None:
        super().__init__()
        self._name, self._value = name, value

    def head(self, piece: Piece) -> bytes:
        return _rewritten(piece.data, self._name, self._value)


class _RequestHeader(Reaction):
    outcome = CHANGED

    def __init__(self, name: str, value: str) -> None:
        self._name, self._value = name, value

    def request(self, piece: Piece, now: float) -> Commands:
        data = _rewritten(piece.data, self._name, self._value) if piece.first else piece.data
        if data != piece.data:
            yield Began()
        yield ToServer(data)


FAULTS: tuple[type[Toxic], ...] = (
    HttpStatus, HttpEmpty, HttpGarbage, HttpTruncated, HttpLength, HttpChunk, HttpCut, HttpDrip,
    HttpDuplicate, HttpHeader,
)  # fmt: skip
