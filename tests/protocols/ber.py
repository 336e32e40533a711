"""LDAP messages by hand, for what no client sends."""

from __future__ import annotations


def element(tag: int, data: bytes) -> bytes:
    size = len(data)
    if size < 0x80:
        return bytes([tag, size]) + data
    return bytes([tag, 0x84]) + size.to_bytes(4, "big") + data


def octets(data: bytes) -> bytes:
    return element(4, data)


def sequence(*parts: bytes) -> bytes:
    return element(0x30, b"".join(parts))


def message(number: int, tag: int, operation: bytes) -> bytes:
    return sequence(element(2, bytes([number])), element(tag, operation))


def search(number: int) -> bytes:
    limits = b"\x0a\x01\x02\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00"
    present = element(0x87, b"objectClass")
    return message(number, 0x63, octets(b"dc=example") + limits + present + sequence())


def busy(number: int) -> bytes:
    """A search's end, with the code of ``busy``."""
    return message(number, 0x65, b"\x0a\x01\x33" + octets(b"") * 2)


def extended(number: int, code: int, name: str = "") -> bytes:
    """A reply to an extended operation, or a notice."""
    named = element(0x8A, name.encode()) if name else b""
    return message(number, 0x78, bytes([0x0A, 1, code]) + octets(b"") * 2 + named)


def bind(number: int, mechanism: str = "") -> bytes:
    how = element(0xA3, octets(mechanism.encode())) if mechanism else element(0x80, b"secret")
    return message(number, 0x60, b"\x02\x01\x03" + octets(b"cn=x") + how)
