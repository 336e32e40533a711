"""What a memcached server can answer instead of the truth, in text, meta and binary.

A command never reaches the server. The words and status codes are those of memcached's
doc/protocol.txt, its meta commands and doc/protocol_binary.txt.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from seism.protocols.base import Exchange, Piece
from seism.protocols.fault import Answer, Commands, Fault, FaultRow, Reaction, toxics
from seism.toxics.base import Rng, Toxic

PROTOCOL = "https://docs.memcached.org/protocols/basic/"
META = "https://docs.memcached.org/protocols/meta/"
_HEADER = struct.Struct("!BBHBBHIIQ")
_REQUEST, _REPLY = 0x80, 0x81
QUIET = {
    0x09: 0x00, 0x0D: 0x0C, 0x11: 0x01, 0x12: 0x02, 0x13: 0x03, 0x14: 0x04, 0x15: 0x05,
    0x16: 0x06, 0x17: 0x07, 0x18: 0x08, 0x19: 0x0E, 0x1A: 0x0F, 0x1E: 0x1D, 0x24: 0x23,
}  # fmt: skip
"""Quiet opcodes -> the same with a reply, which is what memcached's replies to them carry."""
_STORES = {"set", "add", "replace", "append", "prepend", "cas", "ms"}
_COUNTS = {"incr", "decr", "ma"}
_READS = {"get", "gets", "gat", "gats", "getk", "gatk", "mg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemcachedRow(FaultRow):
    """A row of the tables below; ``MemcachedFault`` explains its fields."""

    line: str
    status: tuple[int, str]
    kinds: frozenset[str] | None = None
    meta: str = ""


class MemcachedFault(Fault):
    """Base of the faults of memcached."""

    __slots__ = ()

    protocol: ClassVar[str] = "memcached"
    kinds: ClassVar[frozenset[str]] = frozenset()
    """Commands that it happens to; empty: any."""
    line: ClassVar[str]
    """Its reply in text."""
    meta: ClassVar[str] = ""
    """Its reply to meta commands, if that is another one."""
    status: ClassVar[tuple[int, str]]
    """Its status in binary, and the words there."""

    def fits(self, exchange: Exchange) -> bool:
        return (not self.kinds or exchange.kind in self.kinds) and Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _InItsWords(self, hushed=not exchange.replies)


class _InItsWords(Answer):
    """Answers in the way in which it was asked."""

    def __init__(self, fault: MemcachedFault, hushed: bool) -> None:
        super().__init__(b"")
        self._fault = fault
        self._hushed = hushed

    def request(self, piece: Piece, now: float) -> Commands:
        if piece.first and not self._hushed:
            self._reply = self._words(piece.data)
        yield from super().request(piece, now)

    def _words(self, head: bytes) -> bytes:
        if head[0] == _REQUEST:
            _, opcode, _, _, _, _, _, opaque, _ = _HEADER.unpack_from(head)
            code, text = self._fault.status
            opcode = QUIET.get(opcode, opcode)
            size = len(text)
            return _HEADER.pack(_REPLY, opcode, 0, 0, 0, code, size, opaque, 0) + text.encode()
        words = head.split()
        if not self._fault.meta or words[0] not in (b"mg", b"ms", b"md", b"ma"):
            return f"{self._fault.line}\r\n".encode()
        # Where a meta command is refused, what tells its reply from others is still there.
        flags = words[2 + (words[0] == b"ms") :] if words[0] != b"mg" else []
        told = [b"k" + words[1] for flag in flags if flag == b"k"]
        told += [flag for flag in flags if flag[:1] == b"O"]
        return b" ".join((self._fault.meta.encode(), *told)) + b"\r\n"


@dataclass(frozen=True, slots=True)
class MemcachedMiss(MemcachedFault):
    """The key is not there, as after a restart or an eviction: a miss storm, if all are.

    Of what the server holds nothing changes.
    """

    type: ClassVar[str] = "memcached_miss"
    kinds: ClassVar[frozenset[str]] = frozenset(_READS)
    code: ClassVar[str] = "END, EN"
    source: ClassVar[str] = f"{PROTOCOL}#retrieval-command"
    line: ClassVar[str] = "END"
    meta: ClassVar[str] = "EN"
    status: ClassVar[tuple[int, str]] = (0x01, "Not found")

    def fits(self, exchange: Exchange) -> bool:
        # A quiet command says of a miss nothing at all.
        return exchange.kind in self.kinds


ERRORS = toxics(
    MemcachedFault,
    MemcachedRow(
        type="memcached_oom",
        lasts=True,
        help="The server has no memory left for an item, and may not evict others.",
        code="SERVER_ERROR",
        swept="out of memory",
        kinds=frozenset(_STORES | _COUNTS),
        line="SERVER_ERROR out of memory storing object",
        status=(0x82, "Out of memory"),
        source=f"{PROTOCOL}#error-strings",
    ),
    MemcachedRow(
        type="memcached_not_stored",
        help="A condition for storing was not met, without an error: the item is not there.",
        code="NOT_STORED, NS",
        kinds=frozenset(_STORES),
        line="NOT_STORED",
        meta="NS",
        status=(0x05, "Not stored."),
        source=f"{PROTOCOL}#storage-commands",
    ),
    MemcachedRow(
        type="memcached_error",
        help="The server does not know the command, as an older version or another product.",
        code="ERROR",
        line="ERROR",
        status=(0x81, "Unknown command"),
        source=f"{PROTOCOL}#error-strings",
    ),
)

FAULTS: tuple[type[Toxic], ...] = (*ERRORS, MemcachedMiss)
