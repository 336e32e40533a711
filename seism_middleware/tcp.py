"""What the kernel counts on a TCP connection (``TCP_INFO``, tcp(7), struct tcp_info)."""

from __future__ import annotations

import socket
import struct
from typing import Any

_TCP_INFO = getattr(socket, "TCP_INFO", None)
_NOTSENT = struct.Struct("@I").unpack_from
_COUNTERS = struct.Struct("@QQ").unpack_from
_RECEIVED = struct.Struct("@Q").unpack_from
_IPPROTO_TCP = int(socket.IPPROTO_TCP)
_ENDED = frozenset({8, 9, 11})
"""States in which the peer's end of stream has arrived: CLOSE_WAIT, LAST_ACK, CLOSING."""


def written(sock: Any) -> int | None:
    """Bytes that the kernel has taken from this process on ``sock``; None if it won't say."""
    return counts(sock)[0]


def counts(sock: Any) -> tuple[int | None, int]:
    """``written`` and ``received``, both from one look."""
    if _TCP_INFO is None:
        return None, -1
    try:
        info = sock.getsockopt(_IPPROTO_TCP, _TCP_INFO, 216)
    except OSError:
        return None, -1
    if len(info) < 136:
        return None, -1
    arrived: int = _RECEIVED(info, 128)[0]
    arrived -= info[0] in _ENDED
    if len(info) < 216:
        return None, arrived
    sent, again = _COUNTERS(info, 200)
    return sent - again + _NOTSENT(info, 144)[0], arrived


def received(sock: Any) -> int:
    """Bytes that have arrived on ``sock``; -1 if the kernel won't say.

    The kernel counts the end of the stream as a byte; here it is none.
    """
    if _TCP_INFO is None:
        return -1
    try:
        info = sock.getsockopt(_IPPROTO_TCP, _TCP_INFO, 136)
    except OSError:
        return -1
    if len(info) != 136:
        return -1
    count: int = _RECEIVED(info, 128)[0]
    return count - (info[0] in _ENDED)


def address_text(address: Any) -> str:
    """``host:port`` or ``[ipv6]:port`` of a socket's name; IPv4 in IPv6 is shown as IPv4."""
    host, port = address[0].removeprefix("::ffff:"), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
