"""Which clients a toxic is for: the conditions of ``model.Match``, ready to be asked."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import struct
from typing import Any

from seism.model import Match

PREFIX = 4096
"""Bytes of a client that are looked at; a ClientHello has 500 to 2,000."""


class Matcher:
    """One ``Match``, compiled."""

    def __init__(self, match: Match) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in match.client]
        self._name = _glob(match.server_name) if match.server_name else None
        self._first = _glob(match.first_bytes + "*") if match.first_bytes else None
        self._literal = re.split(r"[*?[]", match.first_bytes)[0].encode("latin-1")

    def address(self, host: str) -> bool:
        """Whether a client at ``host`` can match. What is no IP address never does."""
        if not self._networks:
            return True
        try:
            there: Any = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        there = getattr(there, "ipv4_mapped", None) or there
        return any(there in network for network in self._networks)

    def first(self, data: bytes) -> bool | None:
        """Whether a client that began with ``data`` matches; None: it is not certain yet."""
        complete = len(data) >= PREFIX
        if self._name is not None:
            name = server_name(data)
            if name is None:
                return False if complete else None
            if not self._name.fullmatch(name.encode("ascii", "replace")):
                return False
        if self._first is not None and not self._first.fullmatch(data[:PREFIX]):
            possible = data.startswith(self._literal[: len(data)])
            return None if possible and not complete else False
        return True


def _glob(pattern: str) -> re.Pattern[bytes]:
    """Each character of ``pattern`` is one byte.

    Its time is bounded: ``fnmatch`` makes each ``*`` atomic, so that matching never goes back.
    """
    return re.compile(fnmatch.translate(pattern).encode("latin-1"))


# The server name in a TLS ClientHello (RFC 8446, 4.1.2; RFC 6066, 3), without decrypting: bytes
# in, a name out. Whatever is wrong with the bytes, there is no name; nothing is raised.

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0


class _Short(Exception):
    """The bytes end before the ClientHello does."""


def server_name(data: bytes) -> str | None:
    """The name that a client asks for with its first bytes.

    ``""``: they are no ClientHello, or it has no name. None: more bytes are needed.
    """
    try:
        return _name(_hello(data))
    except _Short:
        return None
    except (struct.error, IndexError, UnicodeDecodeError):
        return ""


def _hello(data: bytes) -> bytes:
    """The handshake message, put together from its records."""
    message = b""
    at = 0
    while len(message) < 4 or len(message) < 4 + _length(message[1:4]):
        if data[at : at + 1] and data[at] != _HANDSHAKE:
            raise IndexError
        if len(data) < at + 5:
            raise _Short
        size = _length(data[at + 3 : at + 5])
        if size == 0:
            raise IndexError  # an empty record of a handshake is not allowed
        if len(data) < at + 5 + size:
            raise _Short
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if message[0] != _CLIENT_HELLO:
            raise IndexError
    return message[4 : 4 + _length(message[1:4])]


def _name(hello: bytes) -> str:
    at = 2 + 32  # version, random
    at += 1 + hello[at]  # session id
    at += 2 + struct.unpack_from(">H", hello, at)[0]  # cipher suites
    at += 1 + hello[at]  # compression methods
    if at == len(hello):
        return ""  # no extensions
    end = at + 2 + struct.unpack_from(">H", hello, at)[0]
    at += 2
    while at < end:
        kind, size = struct.unpack_from(">HH", hello, at)
        at += 4
        if kind == _SERVER_NAME:
            # a list of (type 0, length, name); there is only one type of name
            length = struct.unpack_from(">H", hello, at + 3)[0]
            return hello[at + 5 : at + 5 + length].decode("ascii").lower()
        at += size
    return ""


def _length(data: bytes) -> int:
    return int.from_bytes(data, "big")
