"""The nouns that the sidecar's parts share. Records of the wire are in the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seism.errors import ConfigurationError
from seism.options import option

DOWN = "down"
"""The type, and the toxic's name, of the perturbation that a disabled proxy is."""


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
