"""memcached: the text protocol with its meta commands, and the binary protocol.

The first byte of a connection says which (memcached's doc/protocol.txt and
protocol-binary.txt). Values are passed on by their length. A command that may stay without
a reply (``noreply``, a meta command's ``q``, the binary protocol's quiet ones) is
``replies = False``; where the server does reply to it, an error or a hit, the reply is
matched by its opaque, its key, or by what can't be meant otherwise. Where it could be meant
for two, it belongs to none; where the next command's reply can't be told from it, the
connection is opaque from there.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from seism.errors import ProtocolError
from seism.protocols.base import AUTH, COMMAND, Exchange
from seism.protocols.memcached_faults import FAULTS, QUIET
from seism.protocols.stream import Parser, Stream, StreamCodec
from seism.toxics.base import Toxic

EOL = b"\r\n"
STORES = {b"set": 4, b"add": 4, b"replace": 4, b"append": 4, b"prepend": 4, b"cas": 5}
"""Commands with a data block -> words before ``noreply``, without the command."""
GETS = {b"get", b"gets", b"gat", b"gats"}
LINES: dict[object, tuple[bytes, ...]] = {
    b"stats": (b"STAT ", b"ITEM ", b"PREFIX "),
    b"lru_crawler": (b"key=", b"mg "),
}
"""Commands with replies of many lines -> how those begin that are not the last."""
PLAIN = {
    b"delete", b"incr", b"decr", b"touch", b"flush_all", b"version", b"verbosity", b"quit",
    b"shutdown", b"cache_memlimit", b"slabs", b"lru", b"misbehave", b"refresh_certs",
}  # fmt: skip
SILENT = {b"quit", b"shutdown"}
KEYED = {b"delete", b"incr", b"decr", b"touch"}
META: dict[object, tuple[bytes, ...]] = {
    b"mg": (b"VA", b"HD", b"EN"),
    b"ms": (b"HD", b"NS", b"EX", b"NF"),
    b"md": (b"HD", b"NF", b"EX"),
    b"ma": (b"HD", b"VA", b"NF", b"NS", b"EX"),
    b"mn": (b"MN",),
    b"me": (b"ME", b"EN"),
}
"""Meta commands -> the words that their replies begin with."""
QUIETED: dict[object, bytes] = {b"mg": b"EN", b"ms": b"HD", b"md": b"HD", b"ma": b"HD"}
"""Of these, what ``q`` certainly hides."""
META_WORDS = {word for words in META.values() for word in words}
ANSWERS = {
    word: [name for name in META if word in META[name] and QUIETED.get(name) != word]
    for word in META_WORDS
}
"""Words of replies -> the quiet meta commands that can have them all the same."""
ERRORS = (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")
_SIZE = re.compile(rb"[0-9]{1,10}")
KEY_LIMIT = 250
UNANSWERED = 1000
"""Commands without a reply that are remembered, in case one gets a reply all the same."""

REQUEST, REPLY = 0x80, 0x81
HEADER = struct.Struct("!BBHBBHII8s")
"""magic, opcode, key length, extras length, data type, vbucket or status, body, opaque, CAS"""
OPCODES = {
    0x00: "get", 0x01: "set", 0x02: "add", 0x03: "replace", 0x04: "delete", 0x05: "incr",
    0x06: "decr", 0x07: "quit", 0x08: "flush_all", 0x0A: "noop", 0x0B: "version", 0x0C: "getk",
    0x0E: "append", 0x0F: "prepend", 0x10: "stats", 0x1B: "verbosity", 0x1C: "touch",
    0x1D: "gat", 0x20: "sasl_list", 0x21: "sasl_auth", 0x22: "sasl_step", 0x23: "gatk",
}  # fmt: skip
STATS = 0x10


@dataclass(slots=True, eq=False)
class _Asked:
    """A command that may still be answered."""

    exchange: Exchange
    command: object
    """Its word as bytes, or its opcode without quietness."""
    key: bytes = b""
    opaque: bytes = b""
    size: int = 0
    """Bytes of its data block, with the end of line."""

    @property
    def silent(self) -> bool:
        """It has no reply, as a rule."""
        return not self.exchange.replies


Fits = Callable[[_Asked], bool]


class _Run:
    """Silent commands in a row, in order, found by what a reply shows of its command."""

    def __init__(self) -> None:
        self.asked: deque[_Asked] = deque()
        self._like: dict[tuple[object, ...], deque[_Asked]] = {}

    def add(self, asked: _Asked) -> None:
        self.asked.append(asked)
        for key in _keys(asked):
            self._like.setdefault(key, deque()).append(asked)

    def remove(self, *, last: bool) -> None:
        """The first one, or the last one, is no longer waited for."""
        asked = self.asked.pop() if last else self.asked.popleft()
        for key in _keys(asked):
            like = self._like[key]
            like.pop() if last else like.popleft()
            if not like:
                del self._like[key]

    def possible(
        self, commands: Iterable[object] | None, opaque: bytes, key: bytes | None = None
    ) -> list[Sequence[_Asked]]:
        """Those that are one of ``commands`` (None: any), with this opaque and, if given, key."""
        if commands is None:
            return [self.asked if key is None else self._like.get((key,), ())]
        more = () if key is None else (key,)
        return [self._like.get((command, opaque, *more), ()) for command in commands]


def _keys(asked: _Asked) -> Iterator[tuple[object, ...]]:
    yield (asked.key,)
    yield asked.command, asked.opaque
    yield asked.command, asked.opaque, asked.key


class _Pending:
    """What may still be answered, in order: the silent ones, and after each run of them one that
    has a reply, except after the last. Whatever is asked of it takes a time that does not depend
    on how many there are."""

    def __init__(self) -> None:
        self._runs: deque[_Run] = deque([_Run()])
        self._ends: deque[_Asked] = deque()
        """What ends each run but the last."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def end(self) -> _Asked | None:
        """The first one that has a reply."""
        return self._ends[0] if self._ends else None

    def run(self) -> _Run:
        """The silent ones before it."""
        return self._runs[0]

    def add(self, asked: _Asked) -> None:
        """It comes last. The first silent one is forgotten where there are too many."""
        self._count += 1
        if not asked.silent:
            self._ends.append(asked)
            self._runs.append(_Run())
            return
        if len(self._runs[-1].asked) >= UNANSWERED:
            self._runs[-1].remove(last=False)
            self._count -= 1
        self._runs[-1].add(asked)

    def skip(self, exchange: Exchange) -> None:
        """It did not reach the server: it is the last one."""
        silent = self._runs[-1].asked
        if silent and silent[-1].exchange is exchange:
            self._runs[-1].remove(last=True)
            self._count -= 1
        elif not silent and self._ends and self._ends[-1].exchange is exchange:
            self._runs.pop()
            self._ends.pop()
            self._count -= 1

    def drop_before(self, asked: _Asked) -> None:
        """What comes before ``asked``, which is silent or the end of its run, has no reply."""
        run = self._runs[0]
        while run.asked and run.asked[0] is not asked:
            run.remove(last=False)
            self._count -= 1

    def answered(self, asked: _Asked) -> None:
        """Its reply, the next one of all, is complete."""
        run = self._runs[0]
        if run.asked and run.asked[0] is asked:
            run.remove(last=False)
            self._count -= 1
        elif self._ends and self._ends[0] is asked:
            self._ends.popleft()
            self._runs.popleft()
            self._count -= 1 + len(run.asked)


class Memcached(StreamCodec):
    """An exchange is a command with its data block, and all of its reply."""

    name: ClassVar[str] = "memcached"
    faults: ClassVar[tuple[type[Toxic], ...]] = FAULTS
    unanswered_kinds: ClassVar[frozenset[str]] = frozenset({"quit", "shutdown"})
    matches: ClassVar[dict[str, str]] = {
        "command": "the command's word in lower case, such as get, mg or flush_all",
        "key": "the first key of the command",
    }

    phases: ClassVar[dict[str, str]] = {
        AUTH: "SASL, in the binary protocol",
        COMMAND: "any other command",
    }

    def __init__(self) -> None:
        super().__init__()
        self.pending = _Pending()

    @property
    def unanswered(self) -> int:
        return len(self.pending)

    def skip(self, exchange: Exchange) -> None:
        super().skip(exchange)
        self.pending.skip(exchange)

    def requests(self) -> Parser:
        while not self.upstream.buffer:
            yield None
        binary = self.upstream.buffer[0] == REQUEST
        yield from self._packets() if binary else self._commands()

    def replies(self) -> Parser:
        while not self.downstream.buffer:
            yield None
        binary = self.downstream.buffer[0] == REPLY
        yield from self._reply_packets() if binary else self._reply_lines()

    def _begin(self, asked: _Asked) -> None:
        exchange = asked.exchange
        exchange.summary = exchange.kind
        if self.detail:
            exchange.fields = {"command": exchange.kind, "key": asked.key.decode("latin-1")}
        self.pending.add(asked)

    def _whose(
        self, silent: Iterable[object] | None, opaque: bytes, key: bytes, ending: Fits
    ) -> _Asked | None:
        """Whose reply has come, None where it can't be told and does no harm.

        It is that of the first command that has a reply, if it is ``ending``, or of a silent one
        before it: any (None), or one of these commands with this opaque.
        """
        run, end = self.pending.run(), self.pending.end
        last = end if end is not None and ending(end) else None
        possible = run.possible(silent, opaque)
        if key and sum(map(len, possible)) + (last is not None) > 1:
            same = run.possible(silent, opaque, key)
            also = last if last is not None and last.key == key else None
            if any(same) or also is not None:
                possible, last = same, also
        count = sum(map(len, possible)) + (last is not None)
        if count == 1:
            found = last or next(asked for some in possible for asked in some)
            self.pending.drop_before(found)
            return found
        if not count:
            self.opaque = "a reply to no request"
        elif last is not None:
            self.opaque = "a reply that may be to a quiet command"
        return None

    def _answered(self, asked: _Asked | None) -> None:
        if asked is not None:
            self.pending.answered(asked)

    def _commands(self) -> Parser:
        stream = self.upstream
        while True:
            start = 0
            while (end := stream.buffer.find(b"\n", start, 2048)) < 0 and len(stream.buffer) < 2048:
                start = len(stream.buffer)
                yield None
            if end < 0:
                yield from self._long_get()
                continue
            asked = self._command(bytes(stream.buffer[: end + 1]))
            size = asked.size
            yield stream.piece(end + 1, asked.exchange, first=True, last=not size)
            if size:
                yield from stream.payload(size - 2, asked.exchange)
                yield from stream.least(2)
                if not stream.buffer.startswith(EOL):
                    raise ProtocolError("a data block that is longer than its size")
                yield stream.piece(2, asked.exchange, last=True)

    def _long_get(self) -> Parser:
        """More keys than other commands have room for; they are passed on as they come."""
        stream = self.upstream
        words = bytes(stream.buffer[:2048]).split(b" ")
        if words[0] not in GETS or len(words) < 4:
            raise ProtocolError("no command")
        kind = words[0].decode()
        asked = _Asked(self.begin(kind), words[0], words[2 if kind.startswith("gat") else 1])
        self._begin(asked)
        first = True
        while (end := stream.buffer.find(b"\n")) < 0:
            if stream.buffer:
                yield stream.piece(len(stream.buffer), asked.exchange, first=first)
                first = False
            yield None
        yield stream.piece(end + 1, asked.exchange, first=first, last=True)

    def _command(self, line: bytes) -> _Asked:
        """Raises ProtocolError where memcached could see other ends than this does."""
        words = line.removesuffix(b"\n").removesuffix(b"\r").split()
        if not words or any(byte < 32 for byte in line.rstrip(EOL)):
            raise ProtocolError("no command")
        name, rest = words[0], words[1:]
        if name in META:
            return self._meta(name, rest)
        known = name in GETS or name in PLAIN or name in LINES or name in STORES
        if not known:
            raise ProtocolError("an unknown command")
        quiet = rest[-1:] == [b"noreply"] and name not in GETS and name not in LINES
        rest = rest[:-1] if quiet else rest
        key, size = b"", 0
        if name in STORES:
            if len(rest) != STORES[name] or not _SIZE.fullmatch(rest[3]):
                raise ProtocolError("a malformed command")
            key, size = rest[0], int(rest[3]) + 2
        elif name in GETS:
            at = 1 if name.startswith(b"gat") else 0
            key = b"".join(rest[at : at + 1])
        elif name in KEYED:
            key = b"".join(rest[:1])
        if len(key) > KEY_LIMIT:
            raise ProtocolError("a key that is too long")
        exchange = self.begin(name.decode(), replies=not quiet and name not in SILENT)
        asked = _Asked(exchange, name, key, size=size)
        self._begin(asked)
        return asked

    def _meta(self, name: bytes, rest: list[bytes]) -> _Asked:
        size, flags = 0, rest[1:]
        if name == b"ms":
            if len(rest) < 2 or not _SIZE.fullmatch(rest[1]):
                raise ProtocolError("a malformed command")
            size, flags = int(rest[1]) + 2, rest[2:]
        key = b"".join(rest[:1])
        if len(key) > KEY_LIMIT or (not key and name != b"mn"):
            raise ProtocolError("a malformed command")
        exchange = self.begin(name.decode(), replies=b"q" not in flags)
        asked = _Asked(exchange, name, key, _flag(flags, b"O"), size)
        self._begin(asked)
        return asked

    def _reply_lines(self) -> Parser:
        stream = self.downstream
        while True:
            size = yield from stream.until(b"\n")
            line = bytes(stream.buffer[:size])
            if not line.endswith(EOL):
                raise ProtocolError("a line of a reply that ends in a bare LF")
            words = line.split()
            if not words:
                raise ProtocolError("an empty reply")
            opaque = key = b""
            if words[0] in META_WORDS:
                opaque, key = _flag(words[1:], b"O"), _flag(words[1:], b"k")
            silent = None if words[0] in ERRORS else ANSWERS.get(words[0], ())
            asked = self._whose(silent, opaque, key, partial(_fits, word=words[0], opaque=opaque))
            if self.opaque:
                return
            yield from self._reply(stream, asked, line, words)
            self._answered(asked)

    def _reply(
        self, stream: Stream, asked: _Asked | None, line: bytes, words: list[bytes]
    ) -> Parser:
        """The pieces of one whole reply that begins with ``line``."""
        exchange = asked.exchange if asked else None
        first = True
        while True:
            if words[0] == b"VA":
                size = _size(words, 1)
                yield stream.piece(len(line), exchange, first=first, cut=True)
                yield from stream.payload(size + 2, exchange, last=True)
                return
            if words[0] == b"VALUE" and asked and asked.command in GETS:
                size = _size(words, 3)
                yield stream.piece(len(line), exchange, first=first, cut=True)
                yield from stream.payload(size + 2, exchange)
            elif asked and line.startswith(LINES.get(asked.command, ())):
                yield stream.piece(len(line), exchange, first=first, cut=True)
            else:
                yield stream.piece(len(line), exchange, first=first, last=True)
                return
            first = False
            length = yield from stream.until(b"\n")
            line = bytes(stream.buffer[:length])
            words = line.split() or [b""]

    def _packets(self) -> Parser:
        stream = self.upstream
        while True:
            yield from stream.least(HEADER.size)
            magic, opcode, key, extras, _, _, size, opaque, _ = HEADER.unpack_from(stream.buffer)
            if magic != REQUEST or key + extras > size or key > KEY_LIMIT:
                raise ProtocolError("no binary request")
            head = HEADER.size + extras + key
            yield from stream.least(head)
            base = QUIET.get(opcode, opcode)
            kind = OPCODES.get(base, f"0x{base:02x}")
            phase = AUTH if kind.startswith("sasl") else COMMAND
            exchange = self.begin(kind, phase, replies=opcode not in QUIET)
            name = bytes(stream.buffer[HEADER.size + extras : head])
            self._begin(_Asked(exchange, base, name, opaque.to_bytes(4, "big")))
            body = HEADER.size + size - head
            yield stream.piece(head, exchange, first=True, last=not body)
            yield from stream.payload(body, exchange, last=True)

    def _reply_packets(self) -> Parser:
        stream, exchange, open_ = self.downstream, None, False
        while True:
            yield from stream.least(HEADER.size)
            magic, opcode, key, extras, _, status, size, opaque, _ = HEADER.unpack_from(
                stream.buffer
            )
            if magic != REPLY or key + extras > size or key > KEY_LIMIT:
                raise ProtocolError("no binary reply")
            head = HEADER.size + extras + key
            yield from stream.least(head)
            name = bytes(stream.buffer[HEADER.size + extras : head])
            base = QUIET.get(opcode, opcode)
            number = opaque.to_bytes(4, "big")
            ending = partial(_same, command=base, opaque=number)
            asked = self._whose((base,), number, name, ending)
            if self.opaque:
                return
            first, exchange = not open_, asked.exchange if asked else None
            # The statistics end with one that has neither name nor value.
            open_ = opcode == STATS and status == 0 and size > 0
            body = HEADER.size + size - head
            yield stream.piece(head, exchange, first=first, last=not body and not open_)
            yield from stream.payload(body, exchange, last=not open_)
            if not open_:
                self._answered(asked)


def _fits(asked: _Asked, word: bytes, opaque: bytes) -> bool:
    """Whether a reply that begins with ``word`` can be the one to ``asked``, which has one."""
    if word in ERRORS:
        return True
    if asked.command in META:
        return word in META[asked.command] and asked.opaque == opaque
    return word not in META_WORDS or asked.command in LINES


def _same(asked: _Asked, command: int, opaque: bytes) -> bool:
    return (asked.command, asked.opaque) == (command, opaque)


def _flag(words: list[bytes], letter: bytes) -> bytes:
    """The token of a meta flag, empty where it is not there."""
    return next((word[1:] for word in words if word.startswith(letter)), b"")


def _size(words: list[bytes], at: int) -> int:
    if len(words) <= at or not _SIZE.fullmatch(words[at]):
        raise ProtocolError("a value without its size")
    return int(words[at])
