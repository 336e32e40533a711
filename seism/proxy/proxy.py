"""One back proxy: a listener, its connections, its toxics."""

from __future__ import annotations

import _socket
import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from seism.errors import ConfigurationError, Conflict, NotFound, SeismError, Unavailable
from seism.journal import Consumer
from seism.model import DOWN, ProxySpec, address, check_name, show_address, unix_path
from seism.protocols.base import Codec
from seism.proxy.backend import Backend
from seism.proxy.connection import AcceptedClient, Connection
from seism.proxy.connection_snapshot import ConnectionSnapshot, Traffic, TrafficTotal
from seism.proxy.endpoint import Endpoint, resolve, show_name
from seism.proxy.front import FrontConnection
from seism.proxy.installed_toxic import InstalledToxic
from seism.proxy.listener import Listener
from seism.proxy.perturbation import Perturbation
from seism.proxy.refusal import Refusal
from seism.proxy.relay import Relay
from seism.proxy.tls import Tls, TlsConnection
from seism.proxy.upgrade import UpgradingConnection, check
from seism.proxy.witness import Witness
from seism.toxics.base import REMOVED
from seism_middleware.contract import DOWNSTREAM, UPSTREAM, Proxied

logger = logging.getLogger(__name__)

_ENABLED = "enabled"


@dataclass(frozen=True, slots=True)
class ResolvedSpec:
    """From where to where a proxy goes: what it listens on, its backend, and its TLS."""

    listen: str
    upstream: str
    entrances: tuple[Endpoint, ...]
    backend: Backend
    spec: ProxySpec
    """As it was asked for."""
    tls: Tls | None = None

    @classmethod
    def of(cls, spec: ProxySpec, protocol: type[Codec] | None = None) -> ResolvedSpec:
        """Resolves the address to listen on, which takes a greenlet's time.

        Raises ConfigurationError for an address that cannot be, or TLS that ``protocol``
        can't begin.
        """
        check_name(spec.name, "proxy")
        where = f"proxy {spec.name}"
        check(spec, protocol, where)
        listen = spec.listen or "127.0.0.1:0"
        host, port = address(spec.upstream, f"{where}: upstream")
        if port == 0 and not unix_path(host):
            raise ConfigurationError(f"{where}: upstream: {spec.upstream!r} has no port")
        entrances = resolve(listen, f"{where}: listen")
        backend = Backend(spec.upstream, f"{where}: upstream")
        if set(entrances) & set(backend.endpoints):
            raise ConfigurationError(
                f"{where}: upstream: {spec.upstream!r} is where the proxy itself listens"
            )
        return cls(
            listen,
            spec.upstream,
            entrances,
            backend,
            spec,
            Tls.of(spec, where),
        )


class Proxy:
    """Made stopped; the collection alone calls what changes it, and never waits in it."""

    def __init__(
        self,
        relay: Relay,
        name: str,
        route: ResolvedSpec,
        toxics: Sequence[InstalledToxic],
        protocol: type[Codec] | None = None,
    ) -> None:
        self.name = name
        self._relay = relay
        self._route = route
        self._toxics: list[InstalledToxic] = list(toxics)
        self._listener: Listener | None = None
        self._reserved: Listener | None = None
        """While the proxy is down: its port, bound, so that the kernel gives it to nobody else."""
        self._address: tuple[str, int] | None = None
        self._connections: set[Connection] = set()
        self._accepted_count = 0
        self._outage: Perturbation | None = None
        self._past_up, self._past_down = TrafficTotal(), TrafficTotal()
        self._refusal: Refusal | None = None
        self.refused = route.spec.refused
        """What a client sees of a backend that does not answer; takes effect at once."""
        self.protocol = protocol
        """What connections that are accepted from now on speak; None: unknown."""
        self.opaque: Counter[str] = Counter()
        """Connections whose codec understood no more, by reason."""
        self.tls_failures: Counter[str] = Counter()
        """Handshakes that failed, by side and reason."""

    @property
    def spec(self) -> ProxySpec:
        """As it was asked for, with what has been changed since."""
        return dataclasses.replace(
            self._route.spec,
            listen=self.listen,
            enabled=self.enabled,
            refused=self.refused,
            protocol="" if self.protocol is None else self.protocol.name,
        )

    @property
    def listen(self) -> str:
        """The address, with the port that was picked once there is one."""
        return self._route.listen if self._address is None else show_address(*self._address)

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens, or did before it was disabled; None if it never has."""
        return self._address

    @property
    def upstream(self) -> str:
        return self._route.upstream

    @property
    def enabled(self) -> bool:
        return self._listener is not None

    @property
    def toxics(self) -> tuple[InstalledToxic, ...]:
        """Upstream toxics first, then downstream, each in creation order."""
        return tuple(
            installed for stream in (UPSTREAM, DOWNSTREAM) for installed in self._toxics
            if installed.stream == stream
        )  # fmt: skip

    @property
    def proxied(self) -> Proxied | None:
        """What the app is told of it; None where clients have no address to be found by."""
        route = self._route
        if self._address is None or route.spec.front is not None or unix_path(self._address[0]):
            return None
        return Proxied(self.name, *self._address, route.spec.tls is not None)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._connections)

    @property
    def accepted(self) -> int:
        """How many there have been."""
        return self._accepted_count

    def snapshots(self) -> Iterator[ConnectionSnapshot]:
        """The open connections, oldest first; those that end meanwhile are left out."""
        for connection in sorted(self._connections, key=lambda each: each.number):
            if not connection.closed:
                yield connection.snapshot()

    def consumers(self) -> Iterator[Consumer]:
        """The open connections whose clients wait for the backend to say something."""
        for connection in sorted(self._connections, key=lambda each: each.number):
            found = None if connection.closed else connection.consumer()
            if found is not None:
                yield found

    def traffic(self) -> tuple[Traffic, Traffic]:
        """The bytes of all connections so far, living ones included: upstream, downstream."""
        return (
            self._past_up.with_(connection.up for connection in self._connections),
            self._past_down.with_(connection.down for connection in self._connections),
        )

    def toxic(self, name: str) -> InstalledToxic:
        """Raises NotFound."""
        for installed in self._toxics:
            if installed.name == name:
                return installed
        raise NotFound("toxic not found")

    def same_route(self, spec: ProxySpec) -> bool:
        """Whether it does already what ``spec`` asks for; TLS that is not mentioned may stay."""
        own = self._route.spec
        return (
            spec.listen in ("", self.listen, self._route.listen)
            and spec.upstream == self.upstream
            and spec.tls in (None, own.tls)
            and spec.upstream_tls in (None, own.upstream_tls)
            and spec.protocol in ("", self.spec.protocol)
        )

    # Toxics

    def add(self, installed: InstalledToxic) -> None:
        """Raises Conflict if there is one of that name."""
        if any(installed.name == other.name for other in self._toxics):
            raise Conflict("toxic already exists")
        installed.history.accepted = self._accepted_count
        self._toxics.append(installed)
        self._apply(installed)

    def replace(self, installed: InstalledToxic) -> None:
        """Exchange the toxic of that name. Raises NotFound."""
        self._toxics[self._toxics.index(self.toxic(installed.name))] = installed
        self._apply(installed)

    def remove(self, name: str) -> None:
        """Raises NotFound."""
        installed = self.toxic(name)
        self._toxics.remove(installed)
        for connection in list(self._connections):
            connection.drop(installed)

    def release(self) -> None:
        """Reset the connections on which toxics act that have been removed."""
        for connection in list(self._connections):
            connection.release()

    def _apply(self, installed: InstalledToxic) -> None:
        # In order, as the first so many may be all that are to be affected.
        for connection in sorted(self._connections, key=lambda each: each.number):
            connection.apply(installed, self._toxics)

    # Up and down

    def start(self) -> None:
        """Listen. Raises Unavailable, and is as before then."""
        if self._listener is not None:
            return
        if self._reserved is not None:
            listener, self._reserved = self._reserved, None
            listener.listen()
        else:
            entrances = self._route.entrances
            if self._address is not None:
                entrances = tuple(each.at_port(self._address[1]) for each in entrances)
            listener = Listener(self._relay, entrances, self._accept, f"proxy {self.name}")
        self._listener = listener
        self._address = self._listener.address
        if self._outage is not None:
            self._outage.end(_ENABLED)
            self._outage = None

    def disable(self) -> None:
        """Be down, as a perturbation: clients are refused, connections cut."""
        if self._outage is None:
            self._outage = self._relay.account.begin(self.name, DOWN, DOWN)
        self._reserve()
        self._cut()

    def stop(self) -> None:
        """Close the listener and cut the connections."""
        self._close_listener()
        self._cut()

    def reroute(self, route: ResolvedSpec) -> None:
        """Listen and go elsewhere, and cut the connections.

        Raises Unavailable if the new address cannot be bound; the old route stays then.
        """
        was, was_at, enabled = self._route, self._address, self.enabled
        stays = route.listen in (was.listen, self.listen)
        # The old listener goes first: the new address may overlap with it.
        self._close_listener()
        self._route = route
        if not stays:
            self._address = None
        if enabled:
            try:
                self.start()
            except SeismError:
                self._route, self._address = was, was_at
                self.start()
                raise
        self._cut()

    def _cut(self) -> None:
        for connection in list(self._connections):
            connection.cut()

    def close(self) -> None:
        """The end of the proxy. What is still open is closed, its perturbations end."""
        self._close_listener()
        for connection in list(self._connections):
            connection.close()
        if self._outage is not None:
            self._outage.end(REMOVED)
            self._outage = None

    def _reserve(self) -> None:
        """Stop listening, and keep the port: connections of other processes take free ones."""
        listener = self._listener
        if listener is None or not listener.has_port:
            self._close_listener()
            return
        self._end_refusal()
        self._listener, self._reserved = None, listener
        with contextlib.suppress(Unavailable):  # listening again says so
            listener.refuse()

    def _close_listener(self) -> None:
        self._end_refusal()
        for listener in (self._listener, self._reserved):
            if listener is not None:
                listener.close()
        self._listener = self._reserved = None

    def _end_refusal(self) -> None:
        if self._refusal is not None:
            self._refusal.close()
            self._refusal = None

    # Connections

    def _accept(self, client: _socket.socket, peer: Any) -> None:
        self._accepted_count += 1
        accepted = AcceptedClient(self.name, self._accepted_count, client, peer)
        connection = self._connection(accepted)
        if self.protocol is not None:
            codec, tell = self.protocol(), self._relay.changing
            witness = None
            if tell is not None and codec.changes:
                witness = Witness(codec, self.name, show_name(peer), tell)
            connection.converse(codec, self._understood_no_more, witness)
        self._connections.add(connection)
        connection.start(self._toxics, self._route.backend, self.refused)

    def _connection(self, accepted: AcceptedClient) -> Connection:
        tls, front, relay = self._route.tls, self._route.spec.front, self._relay
        if front is not None and relay.follow is not None:
            follower = relay.follow(show_name(accepted.peer))
            return FrontConnection(follower, front.bad_gateway, relay, accepted, self._gone)
        if tls is None:
            return Connection(relay, accepted, self._gone)
        kind = TlsConnection if tls.later is None else UpgradingConnection
        return kind(tls, self._tls_failed, relay, accepted, self._gone)

    def _tls_failed(self, side: str, error: OSError) -> None:
        reason = getattr(error, "reason", None) or type(error).__name__
        kind = f"{side}: {reason}"
        self.tls_failures[kind] += 1
        if self.tls_failures[kind] == 1:
            logger.warning(
                "proxy %s: a TLS handshake with the %s failed: %s; more of this kind are "
                "counted only", self.name, side, error,
            )  # fmt: skip

    def _understood_no_more(self, reason: str) -> None:
        kind = reason.partition(":")[0]
        self.opaque[kind] += 1
        if self.opaque[kind] == 1:
            logger.warning(
                "proxy %s: a connection is passed on as it is from now on, none of its exchanges "
                "can be perturbed: %s; more of this kind are counted only", self.name, reason,
            )  # fmt: skip

    def _gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._past_up.add(connection.up)
        self._past_down.add(connection.down)
        if connection.unreachable and self.refused == "refuse" and self._listener is not None:
            if self._refusal is None:
                self._refusal = Refusal(
                    self._relay, self._listener, lambda: self._route.backend, f"proxy {self.name}"
                )
            self._refusal.begin()
        if connection.unreachable:
            self._route.backend.refresh()
