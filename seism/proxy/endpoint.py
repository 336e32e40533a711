"""Names to socket addresses, without blocking the loop."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.socket

from seism.errors import ConfigurationError
from seism.model import UNIX, address, show_address, unix_path

RESOLVE_TIMEOUT = 5.0
"""Seconds that a name may take."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address as the socket functions take it: a path for a Unix socket."""

    family: int
    sockaddr: tuple[Any, ...] | str

    def __str__(self) -> str:
        return show_name(self.sockaddr)

    def at_port(self, port: int) -> Endpoint:
        """The same at another port; a Unix socket has none."""
        if isinstance(self.sockaddr, str):
            return self
        return Endpoint(self.family, (self.sockaddr[0], port, *self.sockaddr[2:]))


def show_name(sockaddr: Any) -> str:
    """What ``accept`` or ``getsockname`` said, as ``host:port`` or ``unix:/path``.

    A client's end of a Unix socket has no name: ``unix:``. An IPv4 client of an IPv6
    listener is shown as IPv4, which is how it sees itself.
    """
    if isinstance(sockaddr, tuple):
        return show_address(sockaddr[0].removeprefix("::ffff:"), sockaddr[1])
    return UNIX + (os.fsdecode(sockaddr) if sockaddr else "")


def resolve(text: str, where: str) -> tuple[Endpoint, ...]:
    """The addresses that ``text`` stands for, at least one, IPv4 before IPv6.

    Names are looked up by gevent's resolver, while other greenlets run; a numeric
    address takes no greenlet switch. ``where`` opens the messages.
    Raises ConfigurationError for what is no address and for a name that does not resolve.
    """
    host, port = address(text, where)
    return resolve_numeric(text, where) or _endpoints(_look_up(host, port, where))


def resolve_numeric(text: str, where: str) -> tuple[Endpoint, ...] | None:
    """The same without a look-up; None for a name.

    Raises ConfigurationError for what can be neither an address nor a name.
    """
    host, port = address(text, where)
    if unix_path(host):
        return (Endpoint(int(socket.AF_UNIX), unix_path(host)),)
    try:
        return _endpoints(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        )
    except socket.gaierror:
        return None
    except UnicodeError as error:
        raise ConfigurationError(f"{where}: {host!r} is not a host name: {error}") from None


def _endpoints(found: Any) -> tuple[Endpoint, ...]:
    """IPv4 first, each once."""
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
