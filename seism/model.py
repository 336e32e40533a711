"""The nouns that the sidecar's parts share. Records of the wire are in the contract."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from seism.errors import ConfigurationError
from seism.options import option

DOWN = "down"
"""The type, and the toxic's name, of the perturbation that a disabled proxy is."""
PATTERN_LIMIT = 256
"""Characters of a pattern in ``Match``."""


def address(text: str, where: str) -> tuple[str, int]:
    """``host:port`` or ``[ipv6]:port`` taken apart; an empty host is loopback.

    Raises ConfigurationError for anything else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"{where}: {text!r} is not an address, host:port is expected")
    return host.strip("[]") or "127.0.0.1", int(port)


def show_address(host: str, port: int) -> str:
    """The inverse of ``address``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """A back proxy as it is asked for."""

    name: str = option(help="unique name, usually the backend's")
    upstream: str = option(help="host:port of the backend")
    listen: str = option("127.0.0.1:0", help="host:port to listen on; port 0 picks a free one")
    enabled: bool = option(True, help="false: the backend is down")


@dataclass(frozen=True, slots=True)
class Match:
    """Which clients a toxic is for: those that meet every condition given.

    What can only be told from a client's first bytes is decided when they have come; no
    byte is held back for it, and a toxic acts from the chunk that decides. Connections
    whose first bytes had passed before a toxic asked for them do not match.
    """

    client: tuple[str, ...] = option((), help="addresses or networks, such as 10.0.0.0/8")
    server_name: str = option("", help="the name asked for by TLS (SNI); * and ? are wildcards")
    first_bytes: str = option(
        "", help="what the client's first 4096 bytes begin with; one character is one byte"
        " (Latin-1), *, ? and [seq] are wildcards",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for text in self.client:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise ConfigurationError(
                    f"client: {text!r} is neither an IP address nor a network (10.0.0.0/8)"
                ) from None
        for key in ("server_name", "first_bytes"):
            value = getattr(self, key)
            if len(value) > PATTERN_LIMIT:
                raise ConfigurationError(
                    f"{key}: {len(value)} characters are too many, {PATTERN_LIMIT} are allowed"
                )
            if any(character > "\xff" for character in value):
                raise ConfigurationError(f"{key}: each character must be one byte (Latin-1)")

    @property
    def needs_bytes(self) -> bool:
        """Whether a client's address alone does not tell."""
        return bool(self.server_name or self.first_bytes)


@dataclass(frozen=True, slots=True)
class ToxicSpec:
    """A toxic as it is asked for; ``attributes`` are those of its type."""

    type: str = option(help="the toxic's type")
    name: str = option("", help="unique per proxy; default <type>_<stream>")
    stream: str = option(
        "downstream",
        help="upstream is client to server, downstream server to client",
        choices=("upstream", "downstream"),
    )
    toxicity: float = option(
        1.0, help="the chance that a connection is affected", minimum=0, maximum=1
    )
    attributes: dict[str, Any] = option({}, help="the attributes of the toxic's type")
    match: Match | None = option(None, help="only clients that match; default: all")
    connections: int = option(
        0, help="only the first so many connections that it would affect, 0: all", minimum=0,
        maximum=1_000_000,
    )  # fmt: skip
