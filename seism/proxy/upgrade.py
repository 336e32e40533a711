"""TLS that begins within the streams, where their protocol agrees on it.

::

    client ── "may we?" ──► codec ──────────► backend      both sides negotiate: the backend's
    client ◄── "we may" ─── codec ◄────────── backend      own words reach the client, then each
    client ◄══ handshake ══► proxy ◄═ handshake ═► backend side has its handshake with the proxy

    client ── "may we?" ──► codec                          only the clients' side does: the codec
    client ◄── "we may" ─── codec          backend         agrees, the backend never hears of it

Who asks waits for the answer, so nothing else is on its way then; a protocol that has no
answer (MySQL) lets TLS follow the request at once. The client speaks first in TLS: until
it does, what it is told still goes out as it is, however late that is.
"""

from __future__ import annotations

import _socket
from collections.abc import Callable

from seism.errors import ConfigurationError
from seism.model import ProxySpec
from seism.protocols.base import Codec
from seism.proxy.connection import AcceptedClient, Connection
from seism.proxy.conversation import BegunTls
from seism.proxy.relay import Relay
from seism.proxy.tls import Failed, Tls, TlsConnection, TlsLink
from seism.proxy.tls_end import TlsEnd
from seism.proxy.witness import Witness


def check(spec: ProxySpec, protocol: type[Codec] | None, where: str) -> None:
    """Raises ConfigurationError if TLS can't begin as ``spec`` wants it to."""
    mine = spec.tls is not None and spec.tls.negotiated
    theirs = spec.upstream_tls is not None and spec.upstream_tls.negotiated
    if theirs and not mine:
        raise ConfigurationError(
            f"{where}: upstream_tls.negotiated: the clients begin it, so it needs tls.negotiated"
        )
    if not mine:
        return
    if protocol is None or not protocol.negotiates:
        raise ConfigurationError(
            f"{where}: tls.negotiated: it needs a protocol in which TLS can begin by agreement,"
            f" {protocol.name if protocol else 'none'} is not one"
        )
    if not theirs and not protocol.grants:
        raise ConfigurationError(
            f"{where}: tls.negotiated: the backend of {protocol.name} has to agree,"
            " so it needs upstream_tls.negotiated"
        )


class UpgradingConnection(TlsConnection):
    """Begins as its ``tls`` says, and turns to ``tls.later`` when its codec says so."""

    __slots__ = ("_alpn", "_begun")

    def __init__(
        self,
        tls: Tls,
        failed: Failed,
        relay: Relay,
        accepted: AcceptedClient,
        gone: Callable[[Connection], None],
    ) -> None:
        super().__init__(tls, failed, relay, accepted, gone)
        self._alpn: tuple[str, ...] = ()
        self._begun: BegunTls | None = None
        """TLS begins once the backend is there."""

    def converse(
        self, codec: Codec, opaque: Callable[[str], None], witness: Witness | None = None
    ) -> None:
        super().converse(codec, opaque, witness)
        assert self.conversation is not None and self._tls.later is not None
        self._alpn = codec.alpn
        self.conversation.negotiate(self._upgrade, grants=self._tls.later.backend is None)

    def _upgrade(self, begun: BegunTls) -> None:
        """Both streams turn to TLS; ``begun`` has come of it already."""
        self._suspend(len(begun.upstream), len(begun.downstream))
        if self._server is None or self._handshakes:
            self._begun = begun
        else:
            self._turn(begun)

    def _open(self) -> None:
        super()._open()
        if self._begun is not None and self.up.reading:
            begun, self._begun = self._begun, None
            self._suspend()
            self._turn(begun)

    def _suspend(self, up: int = 0, down: int = 0) -> None:
        for link, ciphertext in ((self.up, up), (self.down, down)):
            assert isinstance(link, TlsLink)
            link.suspend(ciphertext)

    def _turn(self, begun: BegunTls) -> None:
        later, client, server = self._tls.later, self._client, self._server
        assert later is not None and later.clients is not None
        assert isinstance(client, _socket.socket)
        self._handshakes = 1 + (later.backend is not None)
        for context in (later.clients, later.backend):
            if context is not None and self._alpn:
                context.set_alpn_protocols(self._alpn)
        end = self._client = TlsEnd(self._relay, client, later.clients, server_side=True)
        if later.backend is not None:
            assert isinstance(server, _socket.socket)
            self._shake_hands(server, later.backend, later.name, begun.downstream)
        elif isinstance(server, TlsEnd):
            end.peer, server.peer = server, end
        if not self.closed:
            end.handshake(self._client_shaken, begun.upstream)
