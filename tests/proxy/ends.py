"""Clients and servers of every kind that a proxy can stand between, alike to their user."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trustme

from seism.model import ClientTls, ProxySpec, ServerTls, address, show_address, unix_path
from tests.proxy.harness import PATIENCE

KINDS = ("tcp4", "tcp6", "unix", "tls")
NAME = "backend.test"
"""What the certificates are for."""


class Tls:
    """A CA, a certificate of it, contexts that use them, and their files."""

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self.authority = trustme.CA()
        issued = self.authority.issue_cert(name)
        self.ca = str(folder / f"{name}.ca.pem")
        self.certificate = str(folder / f"{name}.pem")
        self.key = str(folder / f"{name}.key")
        self.authority.cert_pem.write_to_path(self.ca)
        issued.private_key_pem.write_to_path(self.key)
        for blob in issued.cert_chain_pems:
            blob.write_to_path(self.certificate, append=True)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(self.server)
        self.client = ssl.create_default_context()
        self.authority.configure_trust(self.client)

    @property
    def shown(self) -> ServerTls:
        """For a proxy that terminates."""
        return ServerTls(self.certificate, self.key)

    @property
    def believed(self) -> ClientTls:
        """For a proxy that originates."""
        return ClientTls(self.ca, NAME)


class End(Protocol):
    """One end of a connection; ``recv`` raises what a socket's does."""

    def sendall(self, data: bytes) -> None: ...

    def recv(self, size: int) -> bytes: ...

    def finish(self) -> None:
        """Nothing follows; the other direction goes on."""

    def deafen(self) -> None:
        """Have a ``recv`` that another thread waits in return: it would keep the socket open."""

    def close(self) -> None: ...

    def reset(self) -> None:
        """Close with RST."""


class PlainEnd:
    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock
        self.sendall = sock.sendall
        self.recv = sock.recv

    def finish(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def deafen(self) -> None:
        self.sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class TlsEnd:
    """TLS with half-close, which Python's SSLSocket cannot do. One thread sends, one receives."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server: bool) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else NAME
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=name
        )
        self._lock = threading.Lock()
        self._early = b""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
            except ssl.SSLError:
                self._flush()
                sock.close()
                raise
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.sock.sendall(self._outgoing.read())

    def _feed(self) -> None:
        data = self.sock.recv(65536)
        with self._lock:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def sendall(self, data: bytes) -> None:
        with self._lock:
            self._tls.write(data)
            ciphertext = self._outgoing.read()
        self.sock.sendall(ciphertext)

    def recv(self, size: int) -> bytes:
        """Empty at close_notify; raises SSLEOFError if the stream was cut short."""
        while True:
            try:
                with self._lock:
                    early, self._early = self._early, b""
                    return early or self._tls.read(size)
            except ssl.SSLWantReadError:
                self._feed()
            except ssl.SSLZeroReturnError:
                return b""

    def finish(self) -> None:
        with self._lock:
            # OpenSSL throws away what was not read before.
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while data := self._tls.read(65536):
                    self._early += data
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
        self._flush()
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.finish()
        self.sock.close()

    def deafen(self) -> None:
        self.sock.shutdown(socket.SHUT_RD)

    def cut(self) -> None:
        """End the stream without saying so."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        PlainEnd(self.sock).reset()


@dataclass
class Listening:
    """A server of one kind."""

    kind: str
    sock: socket.socket
    address: str
    tls: Tls

    def accept(self) -> End:
        sock, _ = self.sock.accept()
        return TlsEnd(sock, self.tls.server, server=True) if self.kind == "tls" else PlainEnd(sock)


def listen(kind: str, folder: Path, tls: Tls) -> Listening:
    """A server; of a Unix socket the file is in ``folder``."""
    if kind == "unix":
        path = str(folder / "server.sock")
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen()
        where = f"unix:{path}"
    else:
        family = socket.AF_INET6 if kind == "tcp6" else socket.AF_INET
        sock = socket.create_server(("::1" if kind == "tcp6" else "127.0.0.1", 0), family=family)
        where = show_address(*sock.getsockname()[:2])
    sock.settimeout(PATIENCE)
    return Listening(kind, sock, where, tls)


def connect(kind: str, to: str, tls: Tls) -> End:
    sock = raw(to)
    return TlsEnd(sock, tls.client, server=False) if kind == "tls" else PlainEnd(sock)


def raw(to: str) -> socket.socket:
    """A socket that is connected to ``to``."""
    host, port = address(to, "test")
    if not unix_path(host):
        return socket.create_connection((host, port), PATIENCE)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    try:
        sock.connect(unix_path(host))
    except OSError:
        sock.close()
        raise
    return sock


def spec(name: str, front: str, server: Listening, folder: Path, tls: Tls) -> ProxySpec:
    """A proxy that is ``front`` to clients, before ``server``."""
    listens = {"tcp6": "[::1]:0", "unix": f"unix:{folder}/{name}.sock"}
    return ProxySpec(
        name,
        server.address,
        listens.get(front, "127.0.0.1:0"),
        tls=tls.shown if front == "tls" else None,
        upstream_tls=tls.believed if server.kind == "tls" else None,
    )


@contextlib.contextmanager
def pair(kind: str, to: str, server: Listening, tls: Tls) -> Iterator[tuple[End, End]]:
    """Both ends of one connection to ``to``, which is ``server`` or leads there."""
    accepted: list[End] = []
    accepting = threading.Thread(target=lambda: accepted.append(server.accept()))
    accepting.start()
    client = connect(kind, to, tls)
    accepting.join()
    (there,) = accepted
    try:
        yield client, there
    finally:
        client.close()
        there.close()
