"""Names to socket addresses, without blocking the loop."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.socket

from seism.errors import ConfigurationError
from seism.model import address

RESOLVE_TIMEOUT = 5.0
"""Seconds that a name may take."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP address as the socket functions take it."""

    family: int
    sockaddr: tuple[Any, ...]


def resolve(text: str, where: str) -> tuple[Endpoint, ...]:
    """The addresses of ``host:port``, at least one, IPv4 before IPv6.

    Names are looked up by gevent's resolver, while other greenlets run; a numeric
    address takes no greenlet switch. ``where`` opens the messages.
    Raises ConfigurationError for what is no address and for a name that does not resolve.
    """
    host, port = address(text, where)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = _look_up(host, port, where)
    endpoints = {Endpoint(int(family), sockaddr): None for family, _, _, _, sockaddr in found}
    return tuple(sorted(endpoints, key=lambda endpoint: endpoint.family != socket.AF_INET))


def _look_up(host: str, port: int, where: str) -> Any:
    try:
        with gevent.Timeout(RESOLVE_TIMEOUT):
            return gevent.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{where}: {host!r} does not resolve: {reason}") from None
    except gevent.Timeout:
        raise ConfigurationError(
            f"{where}: {host!r} does not resolve within {RESOLVE_TIMEOUT:g} s"
        ) from None
