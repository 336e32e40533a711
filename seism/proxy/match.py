"""Which clients a toxic is for: the conditions of ``model.Match``, ready to be asked."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from typing import Any

from seism.model import Match
from seism.proxy.hello import server_name

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
