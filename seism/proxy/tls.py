"""TLS on either side of a proxy: contexts, and a connection whose ends may speak it.

Toxics act on plaintext, and offsets count its bytes. Only connections of a proxy that
has TLS pay for it: they are of a class of their own, and so are their links.
"""

from __future__ import annotations

import _socket
import os
import ssl
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from seism.errors import ConfigurationError
from seism.model import ClientTls, ProxySpec, ServerTls, address, unix_path
from seism.proxy.connection import AcceptedClient, Connection
from seism.proxy.link import Link, LinkConnection
from seism.proxy.outlet import ConnectionOver
from seism.proxy.pump import Socket
from seism.proxy.relay import Relay
from seism.proxy.timers import Timer
from seism.proxy.tls_end import TlsEnd

HANDSHAKE_TIMEOUT = 30.0
"""Seconds that a backend has for its handshake. A client may take as long as it likes."""

Failed = Callable[[str, OSError], None]
"""Told of each handshake that failed: with whom (``client``, ``backend``), and why."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The contexts of one proxy; a side without one is plain."""

    clients: ssl.SSLContext | None
    backend: ssl.SSLContext | None
    name: str | None
    """The backend's, in its certificate."""
    later: Tls | None = None
    """What begins only when the protocol agrees on it."""

    @classmethod
    def of(cls, spec: ProxySpec, where: str) -> Tls | None:
        """None if both sides are plain. Raises ConfigurationError, also for bad files."""
        if spec.tls is None and spec.upstream_tls is None:
            return None
        clients = None if spec.tls is None else _server(spec.tls, f"{where}: tls")
        backend = name = None
        if spec.upstream_tls is not None:
            backend, name = cls._backend(spec, spec.upstream_tls, f"{where}: upstream_tls")
        if spec.tls is None or not spec.tls.negotiated:
            return cls(clients, backend, name)
        if spec.upstream_tls is None or not spec.upstream_tls.negotiated:
            return cls(None, backend, name, cls(clients, None, None))
        return cls(None, None, None, cls(clients, backend, name))

    @classmethod
    def _backend(
        cls, spec: ProxySpec, options: ClientTls, where: str
    ) -> tuple[ssl.SSLContext, str | None]:
        host, _ = address(spec.upstream, where)
        name = options.name or ("" if unix_path(host) else host)
        if options.verify and not name:
            raise ConfigurationError(f"{where}.name: it is needed to verify {spec.upstream!r}")
        backend = _client(options, where)
        try:
            backend.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name or None)
        except ValueError as error:
            raise ConfigurationError(f"{where}.name: {name!r} is not allowed: {error}") from None
        return backend, name or None


FILE_LIMIT = 4 * 1024 * 1024
"""Bytes of a PEM file."""


def _check_file(path: str, where: str) -> None:
    """Raises ConfigurationError for what could be read for ever, a pipe or a device say."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"{where}: {path}: {reason.lower()}") from None
    if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_LIMIT:
        raise ConfigurationError(
            f"{where}: {path}: expected a regular file of at most {FILE_LIMIT} bytes"
        )


def _server(options: ServerTls, where: str) -> ssl.SSLContext:
    for path in (options.certificate, options.key):
        if path:
            _check_file(path, where)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # Without a password of our own, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(options.certificate, options.key or None, password="")
    except OSError as error:
        files = " and ".join(file for file in (options.certificate, options.key) if file)
        raise ConfigurationError(f"{where}: {files}: {_reason(error)}") from None
    return context


def _client(options: ClientTls, where: str) -> ssl.SSLContext:
    if options.ca:
        _check_file(options.ca, f"{where}.ca")
    try:
        context = ssl.create_default_context(cafile=options.ca or None)
    except OSError as error:
        raise ConfigurationError(f"{where}.ca: {options.ca}: {_reason(error)}") from None
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a usable PEM file").replace("_", " ").lower()
    return (error.strerror or str(error)).lower()


class TlsLink(Link):
    """A link that also looks at what a TLS end holds back, when no event would tell."""

    # The pump moves what is in the descriptors, and that is ciphertext.
    plain = False

    __slots__ = ("_end", "_scheduled")

    def __init__(self, connection: LinkConnection, stream: str, relay: Relay) -> None:
        self._end: TlsEnd | None = None
        self._scheduled = False
        super().__init__(connection, stream, relay)

    def listen(self, source: Socket) -> None:
        super().listen(source)
        if isinstance(source, TlsEnd):
            self._end = source
            source.more = self._look
            self._look()

    def close(self, outcome: str) -> None:
        self._end = None
        super().close(outcome)

    def suspend(self, ciphertext: int = 0) -> None:
        """Read no more until ``open`` says from where, and to where, it goes on.

        The last ``ciphertext`` bytes that came are not of the stream.
        """
        self._pause()
        self._fd = -1
        self.received -= ciphertext
        self.withheld -= ciphertext

    def regulate(self) -> None:
        super().regulate()
        self._look()

    def _look(self) -> None:
        """Read once the loop is free, if there is something and room for it."""
        if self._end is None or self._scheduled:
            return
        if self.reading and self._end.pending:
            self._scheduled = True
            # A callback of the loop's would run before any other socket is looked at.
            self._relay.timers.at(self._relay.clock.now(), self._read_pending)

    def _read_pending(self) -> None:
        self._scheduled = False
        if self._end is not None and self.reading and self._end.pending:
            self.callback()
            self._look()


class TlsConnection(Connection):
    """Its links open once every handshake is through."""

    __slots__ = ("_failed", "_handshakes", "_timer", "_tls")

    link = TlsLink

    def __init__(
        self,
        tls: Tls,
        failed: Failed,
        relay: Relay,
        accepted: AcceptedClient,
        gone: Callable[[Connection], None],
    ) -> None:
        super().__init__(relay, accepted, gone)
        self._tls = tls
        self._failed = failed
        self._timer: Timer | None = None
        self._handshakes = (tls.clients is not None) + (tls.backend is not None)
        if tls.clients is not None:
            self._client = TlsEnd(relay, accepted.sock, tls.clients, server_side=True)

    def _begin(self) -> None:
        if not isinstance(self._client, TlsEnd):
            super()._begin()
            return
        self._client.handshake(self._client_shaken)
        if not self.closed:
            # A client that gives up in its handshake is noticed by that.
            self.proceed()

    def _connected(self, server: _socket.socket) -> None:
        self._server = server
        if self._tls.backend is None:
            self._open()
            return
        self._shake_hands(server, self._tls.backend, self._tls.name)
        if not self.closed and not isinstance(self._client, TlsEnd) and not self.up.reading:
            # A client that resets meanwhile is noticed by that.
            self.up.listen(self._client)

    def _shake_hands(
        self, server: _socket.socket, context: ssl.SSLContext, name: str | None, begun: bytes = b""
    ) -> None:
        """Let the backend's end be one that speaks TLS, of which ``begun`` has come already."""
        end = self._server = TlsEnd(self._relay, server, context, name=name)
        if isinstance(self._client, TlsEnd):
            end.peer, self._client.peer = self._client, end
        self._timer = self._relay.timers.at(
            self._relay.clock.now() + HANDSHAKE_TIMEOUT,
            lambda: self._backend_shaken(TimeoutError("no handshake in time")),
        )
        end.handshake(self._backend_shaken, begun)

    def _client_shaken(self, failure: OSError | None) -> None:
        if failure is None:
            with suppress(ConnectionOver):
                self._shaken()
                if self.up.holds_dial:
                    self.up.listen(self._client)
            return
        self._failed("client", failure)
        if isinstance(failure, ConnectionError):
            self.abort()
        else:
            self.close()

    def _backend_shaken(self, failure: OSError | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if failure is None:
            with suppress(ConnectionOver):
                self._shaken()
        else:
            self._failed("backend", failure)
            self._turn_away()

    def _shaken(self) -> None:
        self._handshakes -= 1
        self._open()

    def _open(self) -> None:
        if self._server is not None and not self._handshakes:
            super()._open()

    def finish(self) -> None:
        # The end of a TLS stream has to be said.
        self.close()

    def _close(self, close: Callable[[Socket], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super()._close(close)
