"""Which user a connection on loopback comes from, as the kernel says (sock_diag(7)).

The question is for one exact pair of addresses, never for a list of sockets: the answer costs
some 20 microseconds however many there are.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

SOCK_DIAG = 4
"""NETLINK_SOCK_DIAG of linux/netlink.h, which the socket module does not name."""
_ASK, _REQUEST = 20, 1
_ESTABLISHED = 1
_HEADER = struct.Struct("=IHHII")
_ID = struct.Struct("!HH16s16s")
_ID_REST = struct.Struct("=III")
_ANY = 0xFFFFFFFF
_MAPPED = bytes(10) + b"\xff\xff"
_MESSAGE = struct.Struct("=BBBB")
_COUNTS = struct.Struct("=IIIII")
"""Of struct inet_diag_msg: expires, rqueue, wqueue, uid, inode."""


def user_of(client: tuple[Any, ...], server: tuple[Any, ...]) -> int | None:
    """The user that owns the socket at ``client`` connected to ``server``; None if unknown.

    Only an established socket that a process still has says who that is: the kernel shows
    those that are orphaned or wait for their end as root's, with inode 0.
    """
    hosts = [each[0].partition("%")[0].removeprefix("::ffff:") for each in (client, server)]
    family = socket.AF_INET6 if ":" in hosts[0] else socket.AF_INET
    try:
        addresses = [socket.inet_pton(family, host) for host in hosts]
        # How the kernel shows an IPv6 socket that speaks IPv4.
        mapped = [_MAPPED + each for each in addresses] if family == socket.AF_INET else addresses
        wanted = _ID.pack(client[1], server[1], *addresses)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as asking:
            asking.settimeout(0)
            asking.send(_question(family, wanted))
            # The kernel has answered by the time that send returns.
            return _answer(asking.recv(8192), (wanted, _ID.pack(client[1], server[1], *mapped)))
    except OSError:
        return None


def _question(family: int, wanted: bytes) -> bytes:
    asked = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << _ESTABLISHED)
    asked += wanted + _ID_REST.pack(0, _ANY, _ANY)
    return _HEADER.pack(_HEADER.size + len(asked), _ASK, _REQUEST, 1, 0) + asked


def _answer(data: bytes, wanted: tuple[bytes, ...]) -> int | None:
    _, kind, _, _, _ = _HEADER.unpack_from(data)
    if kind != _ASK:
        return None
    at = _HEADER.size
    _, state, _, _ = _MESSAGE.unpack_from(data, at)
    at += _MESSAGE.size
    found = data[at : at + _ID.size]
    *_, user, inode = _COUNTS.unpack_from(data, at + _ID.size + _ID_REST.size)
    # The kernel looks for a listening socket where there is no other.
    exact = state == _ESTABLISHED and found in wanted and inode != 0
    return user if exact else None
