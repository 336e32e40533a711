"""Redis and Valkey: RESP2 and RESP3, as the servers and their clients speak them.

A request is an array of bulk strings (or a line: an inline command), and replies come in
order. Payloads are skipped by their length. A command is held until its name and the
arguments that hold its key are there, or are known to be too long to look at.

What the server says without having been asked has a type of its own in RESP3 (push), and
none in RESP2: from a subscription there, from MONITOR and from PSYNC on, a connection is
opaque once all that came before has been answered. Streamed strings and aggregates, which
no server sends, are ProtocolErrors.

Source: redis.io/docs/latest/develop/reference/protocol-spec.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from collections.abc import Iterator
from typing import ClassVar

from seism.protocols.base import AUTH, COMMAND, HELD_LIMIT, Codec, Exchange, Piece, ProtocolError
from seism.protocols.redis_faults import EXEC, FAULTS, QUEUED, SESSION, words
from seism.toxics.base import Toxic
from seism_middleware.contract import DOWNSTREAM, UPSTREAM

_LONGEST_LINE = HELD_LIMIT
"""Bytes of an inline command or a simple reply; the server's PROTO_INLINE_MAX_SIZE."""
_LONGEST_NUMBER = 32
"""Bytes of a line that holds nothing but a number, its end included."""
_MOST_ARGUMENTS = 1024 * 1024
_LOOKED_AT = 512
"""Bytes of an argument; a longer one is no key that a rule could name."""
_NUMBER = re.compile(rb"([+-]?[0-9]{1,19})\r\n")
_NAME = re.compile(r"[A-Z][A-Z0-9_.-]{0,31}")


_AUTH = words("AUTH HELLO")
_SESSION = words("CLIENT SELECT RESET QUIT READONLY READWRITE ASKING")
_KEYLESS = words(
    "PING ECHO INFO CONFIG COMMAND DBSIZE FLUSHALL FLUSHDB KEYS SCAN RANDOMKEY TIME WAIT WAITAOF"
    " SCRIPT FUNCTION ACL CLUSTER LATENCY SLOWLOG MODULE DEBUG ROLE REPLICAOF SLAVEOF FAILOVER SAVE"
    " BGSAVE BGREWRITEAOF LASTSAVE SHUTDOWN SWAPDB PUBLISH PUBSUB MULTI EXEC DISCARD UNWATCH LOLWUT"
    " SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR SYNC PSYNC"
    " REPLCONF AUTH HELLO CLIENT SELECT RESET QUIT READONLY READWRITE ASKING"
)
_KEY_AT = {
    **dict.fromkeys(words("EVAL EVALSHA EVAL_RO EVALSHA_RO FCALL FCALL_RO BLMPOP BZMPOP"), 3),
    **dict.fromkeys(words("OBJECT XINFO XGROUP MEMORY BITOP LMPOP ZMPOP SINTERCARD"), 2),
    **dict.fromkeys(words("ZINTERCARD ZUNION ZINTER ZDIFF"), 2),
}
"""Which argument is the first key, where it is not the first argument."""
_SUBSCRIBES = words("SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE")
_TAKES_OVER = {"MONITOR": "MONITOR", "SYNC": "replication", "PSYNC": "replication"}
_ENDS_MULTI = words("EXEC DISCARD RESET")


class Redis(Codec):
    """One connection to a Redis or Valkey server."""

    name: ClassVar[str] = "redis"
    matches: ClassVar[dict[str, str]] = {
        "key": "the first key of the command",
        "resp": "the version of the protocol, 2 or 3",
    }
    phases: ClassVar[dict[str, str]] = {
        COMMAND: "a command",
        AUTH: "AUTH, HELLO",
        SESSION: "CLIENT, SELECT, RESET, QUIT, READONLY, READWRITE, ASKING",
        QUEUED: "a command between MULTI and EXEC",
        EXEC: "EXEC",
    }
    faults: ClassVar[tuple[type[Toxic], ...]] = FAULTS

    def __init__(self) -> None:
        super().__init__()
        self._held = {UPSTREAM: b"", DOWNSTREAM: b""}
        self._pending: deque[Exchange] = deque()
        """What the server has not answered yet."""
        self._count = 0
        self._request: Exchange | None = None
        """The request that is in the middle of its bytes; see ``_left``, ``_skip``."""
        self._left = 0
        """Arguments of the request that have not begun."""
        self._skip = 0
        """Bytes of its argument that have not come."""
        self._need = 0
        """Values of the reply that have not come; 0 between replies."""
        self._reply_skip = 0
        self._pushed = False
        self._version = "2"
        self._multi = False
        self._quiet = 0
        """Commands that get no reply: CLIENT REPLY SKIP; below 0: all, CLIENT REPLY OFF."""
        self._taken_over = ""
        """Why what comes now belongs to no exchange: opaque once nothing is pending."""

    def receive(self, stream: str, data: bytes) -> Iterator[Piece]:
        if self._held[stream]:
            data = self._held[stream] + data
        return self._requests(data) if stream == UPSTREAM else self._replies(data)

    def eof(self, stream: str) -> Iterator[Piece]:
        data, self._held[stream] = self._held[stream], b""
        if data:
            yield Piece(data, None)

    def held(self, stream: str) -> bytes:
        return self._held[stream]

    @property
    def unanswered(self) -> int:
        return len(self._pending)

    def skip(self, exchange: Exchange) -> None:
        self._pending.remove(exchange)
        if exchange.kind == "MULTI":
            self._multi = False
        self._settle()

    def _settle(self) -> None:
        if self._taken_over and not self._pending:
            self.opaque = self._taken_over

    # Requests

    def _requests(self, data: bytes) -> Iterator[Piece]:
        start = 0
        try:
            while start < len(data) and not self.opaque:
                first = self._request is None
                end = self._begin(data, start) if first else start
                if end is None:
                    return
                exchange = self._request
                if exchange is not None:
                    end = self._rest(data, end)
                last = not self._left and not self._skip
                if end == start:
                    return
                if last:
                    self._request = None
                piece = Piece(data[start:end], exchange, exchange is not None and first,
                              exchange is not None and last)  # fmt: skip
                if exchange is not None:
                    exchange.request_size += end - start
                    exchange.answered = last and not exchange.replies
                start = end
                yield piece
                if last:
                    self._settle()
        finally:
            self._held[UPSTREAM] = data[start:]

    def _begin(self, data: bytes, start: int) -> int | None:
        """Find out what the command at ``start`` is; where its unread bytes begin.

        None: it takes more bytes than there are. ``_request`` stays None for what is empty.
        """
        if data[start] != 0x2A:
            return self._inline(data, start)
        line = _line(data, start + 1)
        if line is None:
            return None
        count, at = line
        if count > _MOST_ARGUMENTS:
            raise ProtocolError(f"a command of {count} arguments")
        if count <= 0:
            return at
        arguments: list[bytes] = []
        wanted = 1
        while len(arguments) < min(wanted, count):
            if at >= len(data):
                return None
            line = self._bulk(data, at)
            if line is None:
                return None
            size, at = line
            if size > _LOOKED_AT:
                arguments.append(b"")
                self._skip = size + 2
                break
            if at + size + 2 > len(data):
                return None
            arguments.append(data[at : at + size])
            at += size + 2
            if len(arguments) == 1:
                wanted = self._wanted(_name(arguments[0]))
        self._left = count - len(arguments)
        self._ask(arguments, count)
        return at

    def _inline(self, data: bytes, start: int) -> int | None:
        end = data.find(b"\n", start, start + _LONGEST_LINE)
        if end < 0:
            if len(data) - start >= _LONGEST_LINE:
                raise ProtocolError("an inline command that does not end")
            return None
        words = data[start:end].split()
        if words:
            self._ask([word[:_LOOKED_AT] for word in words[:4]], len(words))
        return end + 1

    def _wanted(self, name: str) -> int:
        """How many arguments, the name included, it takes to say what a command does."""
        if name == "CLIENT":
            return 3
        if not self.detail or name in _KEYLESS:
            return 1
        return _KEY_AT.get(name, 1) + 1

    def _ask(self, arguments: list[bytes], count: int) -> None:
        name = _name(arguments[0])
        self._count += 1
        exchange = Exchange(self._count, name, self._phase(name), fields={"resp": self._version})
        if self.detail:
            exchange.summary = f"{name}, {count - 1} argument{'s' * (count != 2)}"
            at = _KEY_AT.get(name, 1)
            if name not in _KEYLESS and at < len(arguments):
                exchange.fields["key"] = arguments[at].decode("utf-8", "backslashreplace")
        exchange.replies = self._replies_to(name, arguments)
        if name in _ENDS_MULTI:
            self._multi = False
        elif name == "MULTI":
            self._multi = True
        self._request = exchange
        if exchange.replies:
            self._pending.append(exchange)

    def _phase(self, name: str) -> str:
        if name in _AUTH:
            return AUTH
        if name in _SESSION:
            return SESSION
        if not self._multi or name in ("MULTI", "DISCARD", "WATCH"):
            return COMMAND
        return EXEC if name == "EXEC" else QUEUED

    def _replies_to(self, name: str, arguments: list[bytes]) -> bool:
        if self._taken_over:
            return False
        if name in _TAKES_OVER:
            self._taken_over = _TAKES_OVER[name]
            return False
        if name in _SUBSCRIBES and not self._multi:
            # In RESP3 they are answered by pushed messages.
            self._taken_over = "" if self._version == "3" else "pub/sub"
            return False
        quiet = self._quiet != 0
        if self._quiet > 0:
            self._quiet -= 1
        if name == "CLIENT" and [a.upper() for a in arguments[1:2]] == [b"REPLY"]:
            how = arguments[2].upper() if len(arguments) > 2 else b""
            if how == b"ON":
                self._quiet = 0
                return True
            if how == b"OFF":
                self._quiet = -1
            elif how == b"SKIP" and self._quiet >= 0:
                self._quiet = 1
            return how not in (b"OFF", b"SKIP") and not quiet
        return not quiet

    def _rest(self, data: bytes, at: int) -> int:
        """Pass over what there is of the request's arguments; where that ends."""
        while True:
            if self._skip:
                size = min(self._skip, len(data) - at)
                at += size
                self._skip -= size
            if self._skip or not self._left or at >= len(data):
                return at
            line = self._bulk(data, at)
            if line is None:
                return at
            self._left -= 1
            self._skip, at = line[0] + 2, line[1]

    def _bulk(self, data: bytes, at: int) -> tuple[int, int] | None:
        """The size of an argument whose header is at ``at``, and where it begins."""
        if data[at] != 0x24:
            raise ProtocolError("an argument that is no bulk string")
        line = _line(data, at + 1)
        if line is not None and line[0] < 0:
            raise ProtocolError("an argument of negative size")
        return line

    # Replies

    def _replies(self, data: bytes) -> Iterator[Piece]:
        start = 0
        try:
            while start < len(data) and not self.opaque:
                first = not self._need and not self._reply_skip
                if first:
                    self._need = 1
                    self._pushed = data[start] == 0x3E or not self._pending
                    if not self._pending and data[start] not in b">-":
                        raise ProtocolError("a reply to nothing")
                end = self._values(data, start)
                last = not self._need and not self._reply_skip
                if end == start:
                    if first:
                        self._need = 0
                    return
                piece = self._reply(data[start:end], first, last)
                start = end
                yield piece
                if last:
                    self._settle()
        finally:
            self._held[DOWNSTREAM] = data[start:]

    def _reply(self, data: bytes, first: bool, last: bool) -> Piece:
        if self._pushed:
            return Piece(data, None, cut=not last)
        exchange = self._pending[0]
        exchange.reply_size += len(data)
        if first and exchange.kind == "HELLO":
            if data[0] == 0x25:
                self._version = "3"
            elif data[0] == 0x2A:
                self._version = "2"
        if last:
            exchange.answered = True
            self._pending.popleft()
        return Piece(data, exchange, first, last)

    def _values(self, data: bytes, at: int) -> int:
        """Pass over what there is of the values that are needed; where that ends."""
        while True:
            if self._reply_skip:
                size = min(self._reply_skip, len(data) - at)
                at += size
                self._reply_skip -= size
            if self._reply_skip or not self._need or at >= len(data):
                return at
            kind = data[at]
            if kind in _LINES:
                end = data.find(b"\r\n", at, at + _LONGEST_LINE)
                if end < 0:
                    if len(data) - at >= _LONGEST_LINE:
                        raise ProtocolError("a line that does not end")
                    return at
                self._need -= 1
                at = end + 2
                continue
            if kind not in _COUNTED:
                raise ProtocolError(f"a reply of unknown type {chr(kind)!r}")
            line = _line(data, at + 1)
            if line is None:
                return at
            count, at = line
            if kind in _BULKS:
                self._need -= 1
                self._reply_skip = count + 2 if count >= 0 else 0
            elif kind == 0x7C:  # an attribute comes before the value that it is of
                self._need += 2 * max(count, 0)
            else:
                self._need += max(count, 0) * (2 if kind == 0x25 else 1) - 1


_LINES = frozenset(b"+-:_,#(")
_BULKS = frozenset(b"$=!")
_COUNTED = _BULKS | frozenset(b"*%~>|")


def _line(data: bytes, at: int) -> tuple[int, int] | None:
    """The number at ``at`` and where its line ends; None: it is not there yet."""
    found = _NUMBER.match(data, at)
    if found is not None:
        return int(found[1]), found.end()
    if b"\r\n" in data[at : at + _LONGEST_NUMBER] or len(data) - at >= _LONGEST_NUMBER:
        raise ProtocolError("a length that is no number")
    return None


@functools.lru_cache(256)
def _name(argument: bytes) -> str:
    """The command, if it looks like one: what else is there may be a value."""
    name = argument.decode("latin-1").upper()
    return name if _NAME.fullmatch(name) else "other"
