"""What a directory can answer instead of the truth: result codes of RFC 4511, 4.1.9.

A request that is refused never reaches the server. Its reply is the one of its operation
and carries its message id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.errors import ConfigurationError
from seism.options import option
from seism.protocols.base import AUTH, COMMAND, Exchange, Piece
from seism.protocols.fault import (
    Answer,
    Answered,
    Began,
    Close,
    Commands,
    Fault,
    FaultRow,
    Reaction,
    ToClient,
    toxics,
)
from seism.toxics.base import CHANGED, CLOSED, LOST, Rng, Toxic

RFC_4511 = "https://www.rfc-editor.org/rfc/rfc4511"
CODES = f"{RFC_4511}#section-4.1.9"
NOTICE = "1.3.6.1.4.1.1466.20036"
"""Notice of disconnection (RFC 4511, 4.4.1)."""
_REPLIES = {
    "bind": 0x61, "search": 0x65, "modify": 0x67, "add": 0x69, "delete": 0x6B,
    "modify_dn": 0x6D, "compare": 0x6F, "extended": 0x78,
}  # fmt: skip
_ENTRY = 0x64
_MOST_ENTRIES = 1 << 31


def element(tag: int, *contents: bytes) -> bytes:
    """A BER element with a definite length."""
    data = b"".join(contents)
    size = len(data)
    if size < 0x80:
        return bytes((tag, size)) + data
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + data


def _result(number: bytes, tag: int, code: int, text: str, *rest: bytes) -> bytes:
    """A whole message with an LDAPResult; ``number``: the element of its id."""
    said = element(0x04), element(0x04, text.encode())
    return element(0x30, number, element(tag, element(0x0A, bytes((code,))), *said, *rest))


def granted(number: int, oid: str) -> bytes:
    """The response that says yes to the extended operation ``oid``, which has that message id."""
    size = number.bit_length() // 8 + 1  # with room for the sign
    name = element(0x8A, oid.encode())
    return _result(element(0x02, number.to_bytes(size, "big")), 0x78, 0, "", name)


LAST_WORDS = {
    "52": _result(
        element(0x02, b"\0"),
        0x78,
        52,
        "the server is shutting down",
        element(0x8A, NOTICE.encode()),
    )
}
"""A message of number 0, which answers nothing (RFC 4511, 4.4.1)."""


def _head(message: bytes) -> tuple[bytes, int]:
    """(the element of its id, the tag of its operation), of the beginning of a message."""
    at = 2 + (message[1] & 0x7F if message[1] >= 0x80 else 0)
    end = at + 2 + message[at + 1]
    return message[at:end], message[end]


@dataclass(frozen=True, slots=True, kw_only=True)
class LdapRow(FaultRow):
    """A row of the tables below; ``LdapFault`` explains its fields."""

    number: int
    text: str = ""


class LdapFault(Fault):
    """Base of the faults that answer with a result code."""

    __slots__ = ()

    protocol: ClassVar[str] = "ldap"
    phases: ClassVar[tuple[str, ...]] = (AUTH, COMMAND)
    source: ClassVar[str] = CODES
    number: ClassVar[int]
    """The result code."""
    text: ClassVar[str] = ""
    """The diagnostic message."""

    def fits(self, exchange: Exchange) -> bool:
        return exchange.kind in _REPLIES and Fault.fits(self, exchange)

    def rest(self) -> bytes:
        """What follows the diagnostic message."""
        return b""

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Refused(_REPLIES[exchange.kind], self.number, self.text, self.rest())


class _Refused(Answer):
    def __init__(self, tag: int, code: int, text: str, rest: bytes) -> None:
        super().__init__(b"")
        self._result = tag, code, text, rest

    def request(self, piece: Piece, now: float) -> Commands:
        if piece.first:
            self._reply = _result(_head(piece.data)[0], *self._result)
        yield from super().request(piece, now)


@dataclass(frozen=True, slots=True)
class LdapReferral(LdapFault):
    """Another directory holds this, as after a move, or for changes on a replica."""

    type: ClassVar[str] = "ldap_referral"
    code: ClassVar[str] = "10"
    number: ClassVar[int] = 10
    source: ClassVar[str] = f"{RFC_4511}#section-4.1.10"

    url: str = option("ldap://127.0.0.1:1/", help="where: an LDAP URL")

    def __post_init__(self) -> None:
        if not self.url.startswith(("ldap://", "ldaps://")) or not self.url.isprintable():
            raise ConfigurationError(f"url: {self.url!r} is not allowed, it must be an LDAP URL")

    def rest(self) -> bytes:
        return element(0xA3, element(0x04, self.url.encode()))


class LdapLimit(LdapFault):
    """Base of the limits of a search: some entries arrive before it."""

    __slots__ = ()

    phases: ClassVar[tuple[str, ...]] = (COMMAND,)

    def fits(self, exchange: Exchange) -> bool:
        return exchange.kind == "search" and LdapFault.fits(self, exchange)


@dataclass(frozen=True, slots=True)
class LdapTimeLimit(LdapLimit):
    """A search has taken longer than its limit, or the server's."""

    type: ClassVar[str] = "ldap_time_limit"
    code: ClassVar[str] = "3"
    number: ClassVar[int] = 3

    entries: int = option(
        0, help="how many of the entries arrive first", minimum=0, maximum=_MOST_ENTRIES
    )

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Limited(self.entries, self.number)


@dataclass(frozen=True, slots=True)
class LdapSizeLimit(LdapLimit):
    """A search has found more entries than its limit, or the server's, lets through."""

    type: ClassVar[str] = "ldap_size_limit"
    code: ClassVar[str] = "4"
    number: ClassVar[int] = 4

    entries: int = option(
        1, help="how many of the entries arrive first", minimum=0, maximum=_MOST_ENTRIES
    )

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Limited(self.entries, self.number)


@dataclass(frozen=True, slots=True)
class LdapPartial(Fault):
    """Some entries of a search arrive, and then nothing more, for ever.

    Removing it closes these connections.
    """

    type: ClassVar[str] = "ldap_partial"
    protocol: ClassVar[str] = "ldap"
    source: ClassVar[str] = f"{RFC_4511}#section-4.5.2"

    entries: int = option(
        1, help="how many of the entries arrive", minimum=0, maximum=_MOST_ENTRIES
    )

    def fits(self, exchange: Exchange) -> bool:
        return exchange.kind == "search"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Partial(self.entries)


class _Entries(Reaction):
    """Lets so many entries through; ``over`` is true once there is another message."""

    def __init__(self, entries: int) -> None:
        self._left = entries
        self._within = False
        """The last piece was one of a message that goes on."""
        self.over = False

    def passes(self, piece: Piece) -> bool:
        """Whether ``piece`` is of a message that the client still gets."""
        begins = not self._within
        self._within = piece.cut
        if begins and not self.over:
            tag = _head(piece.data)[1]
            self.over = tag == _REPLIES["search"] or (tag == _ENTRY and not self._left)
            self._left -= tag == _ENTRY
        return not self.over


class _Limited(_Entries):
    outcome = CHANGED

    def __init__(self, entries: int, code: int) -> None:
        super().__init__(entries)
        self._code = code
        self._number = b""

    def reply(self, piece: Piece, now: float) -> Commands:
        if piece.first:
            self._number = _head(piece.data)[0]
        if self.passes(piece):
            yield ToClient(piece.data)
        else:
            yield Began()
        if piece.last:
            yield ToClient(_result(self._number, _REPLIES["search"], self._code, ""))
            yield Answered()


class _Partial(_Entries):
    outcome = LOST

    def reply(self, piece: Piece, now: float) -> Commands:
        if self.passes(piece):
            yield ToClient(piece.data)
        else:
            yield Began()

    def removed(self, now: float) -> Commands:
        if self.over:
            self.outcome = CLOSED
            yield Close()


@dataclass(frozen=True, slots=True)
class LdapDisconnect(Fault):
    """The server says that it will close the connection, and does: a notice of disconnection."""

    type: ClassVar[str] = "ldap_disconnect"
    protocol: ClassVar[str] = "ldap"
    phases: ClassVar[tuple[str, ...]] = (AUTH, COMMAND)
    code: ClassVar[str] = "52"
    source: ClassVar[str] = f"{RFC_4511}#section-4.4.1"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Answer(LAST_WORDS["52"], Close())


RESULTS = toxics(
    LdapFault,
    LdapRow(
        type="ldap_busy",
        lasts=True,
        help="The directory has too much to do.",
        code="51",
        swept="busy",
        number=51,
        text="the server is busy",
    ),
    LdapRow(
        type="ldap_unavailable",
        lasts=True,
        help="The directory is shutting down, or a part of it is offline.",
        code="52",
        swept="unavailable",
        number=52,
        text="the server is shutting down",
    ),
    LdapRow(
        type="ldap_unwilling",
        lasts=True,
        help="The directory refuses, as a read-only replica does with changes.",
        code="53",
        number=53,
        text="operation restricted",
    ),
    LdapRow(
        type="ldap_operations_error",
        help="An internal error, or an operation in an order that is not allowed.",
        code="1",
        number=1,
        text="internal error",
    ),
    LdapRow(
        type="ldap_invalid_credentials",
        lasts=True,
        help="The password is no longer right: a bind fails.",
        code="49",
        phases=(AUTH,),
        number=49,
    ),
)

FAULTS: tuple[type[Toxic], ...] = (
    *RESULTS,
    LdapReferral,
    LdapTimeLimit,
    LdapSizeLimit,
    LdapPartial,
    LdapDisconnect,
)
