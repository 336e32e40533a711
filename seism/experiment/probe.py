"""Finds the protocol at an address, by the first bytes that a server sends, and by its port.

Each question is one that every client of its protocol asks first, and that changes nothing.
"""

from __future__ import annotations

import socket
import ssl

PORTS = {
    6379: "redis", 5432: "postgresql", 3306: "mysql", 11211: "memcached", 389: "ldap",
    25: "smtp", 587: "smtp", 80: "http",
}  # fmt: skip
"""Protocols that proxies know, by the usual ports (IANA's registry)."""
TLS = "tls"
WAIT_SECONDS = 0.4

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""PostgreSQL's SSLRequest (its manual, 54.7)."""
_BIND = bytes.fromhex("300c020101600702010304008000")
"""An anonymous bind (RFC 4511, 4.2)."""
_QUESTIONS = (
    (_SSL_REQUEST, {b"S": "postgresql", b"N": "postgresql"}),
    (b"PING\r\n", {b"+": "redis", b"-": "redis", b"ERROR": "memcached", b"HTTP/": "http"}),
    (b"HEAD / HTTP/1.0\r\n\r\n", {b"HTTP/": "http"}),
    (_BIND, {b"\x30": "ldap"}),
)


def protocol(host: str, port: int) -> str:
    """The protocol by the answers of the server there, ``tls``, or empty if it is unknown."""
    greeting = _ask(host, port, b"")
    if greeting.startswith(b"220"):
        return "smtp"
    if greeting[4:5] in (b"\x0a", b"\xff"):
        return "mysql"
    for question, answers in _QUESTIONS:
        answer = _ask(host, port, question)
        for begin, name in answers.items():
            if answer.startswith(begin):
                return name
    return TLS if _speaks_tls(host, port) else ""


def _ask(host: str, port: int, question: bytes) -> bytes:
    """The first bytes of the answer; empty if there is none in time."""
    try:
        with socket.create_connection((host, port), WAIT_SECONDS) as sock:
            if question:
                sock.sendall(question)
            return sock.recv(64)
    except OSError:
        return b""


def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), 5 * WAIT_SECONDS) as sock:
            with context.wrap_socket(sock):
                return True
    except (OSError, ValueError):
        return False
