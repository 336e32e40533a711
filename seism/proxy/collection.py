"""All proxies of one sidecar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import gevent

from seism.clock import Clock
from seism.errors import ConfigurationError, Conflict, NotFound, Unavailable
from seism.journal import ToxicChanged
from seism.model import ClientTls, ProxySpec, ServerTls, ToxicSpec
from seism.proxy.installed_toxic import InstalledToxic
from seism.proxy.perturbation import Account, Emit, Holds
from seism.proxy.proxy import Proxy, ResolvedSpec
from seism.proxy.relay import Follow, Relay
from seism.proxy.slices import in_slices
from seism.proxy.upgrade import check
from seism.proxy.witness import Tell
from seism.registry import Registry, load
from seism.rng import Seed
from seism_middleware.contract import Proxied

FILE, API, CHAOS = "file", "api", "chaos"
"""The file at the sidecar's start, a call without a lease, standing chaos; else a lease's name."""

_WHO: ContextVar[str] = ContextVar("seism.acting", default=FILE)


@contextmanager
def acting(who: str) -> Iterator[None]:
    """What is changed within the block is changed by ``who``, as the journal says.

    Greenlets each have a context of their own.
    """
    token = _WHO.set(who)
    try:
        yield
    finally:
        _WHO.reset(token)


def who() -> str:
    """Who acts now."""
    return _WHO.get()


Entry = tuple[ProxySpec, Sequence[ToxicSpec]]
"""A proxy with its toxics, as asked for."""


MAX_PROXIES = 4096
"""Whatever is told, shown or changed of all of them is in bounded time."""
MAX_TOXICS = 256
"""Per proxy: each connection looks at all of them."""


class Interrupted(Unavailable):
    """``populate`` could not start a proxy; ``done`` are those that it had dealt with."""

    def __init__(self, message: str, done: list[Proxy]) -> None:
        super().__init__(message)
        self.done = done


class Collection:
    """Proxies by name. Lives in the thread, and on the event loop, that made it.

    Every method returns without waiting for a client or a backend. Those that take
    an address may switch greenlets while its name is looked up; whatever is to be
    checked is checked after that, so that each call has its effect in one piece.
    """

    def __init__(
        self,
        seed: Seed,
        clock: Clock,
        emit: Emit,
        changed: Callable[[], None],
        *,
        registry: Registry | None = None,
        note: Callable[[ToxicChanged], None] = lambda record: None,
    ) -> None:
        """``emit`` takes every perturbation's two records, ``changed`` is called when
        the listen addresses have changed, ``note`` takes each change of what perturbs. None
        may block: all are called on the loop.
        """
        self.registry = load() if registry is None else registry
        self._relay = Relay(gevent.get_hub().loop, clock, seed, Account(emit, clock))
        self._changed = changed
        self._take_note = note
        self._proxies: dict[str, Proxy] = {}
        self._known: tuple[Proxied, ...] = ()

    # Proxies

    def hold(self, limit: float) -> Holds:
        """Let observers look before toxics act, for at most ``limit`` seconds each time."""
        holds = Holds(self._relay.timers, self._relay.clock, limit)
        self._relay.account.holds = holds
        return holds

    def witness(self, tell: Tell) -> None:
        """Have ``tell`` take each exchange that changes something, on connections to come."""
        self._relay.changing = tell

    def follow(self, follow: Follow) -> None:
        """Have ``follow`` observe the connections of the proxy in front of the app."""
        self._relay.follow = follow

    def list(self) -> list[Proxy]:
        """All of them, by name."""
        return [self._proxies[name] for name in sorted(self._proxies)]

    def get(self, name: str) -> Proxy:
        """Raises NotFound."""
        try:
            return self._proxies[name]
        except KeyError:
            raise NotFound("proxy not found") from None

    def proxied(self) -> tuple[Proxied, ...]:
        """Where the back proxies listen; a disabled one keeps its address.

        Those on Unix sockets are not told: clients have no addresses there by which a
        connection could be found.
        """
        found = (proxy.proxied for proxy in self.list())
        return tuple(proxied for proxied in found if proxied is not None)

    def create(self, spec: ProxySpec, toxics: Sequence[ToxicSpec] = ()) -> Proxy:
        """A new proxy, started unless ``spec`` says that it is down.

        Its backend may have a name that does not resolve yet. Raises Conflict for a name that
        is taken, ConfigurationError for an address that cannot be, or a toxic, Unavailable
        if it cannot listen.
        """
        self._refuse_taken(spec.name)
        self._check_room(1)
        installed = self._install(spec, toxics)
        route = self._route(spec)
        self._refuse_taken(spec.name)
        proxy = self._make(spec, route, installed)
        self._tell()
        return proxy

    def update(
        self,
        name: str,
        *,
        listen: str | None = None,
        upstream: str | None = None,
        enabled: bool | None = None,
        tls: ServerTls | None = None,
        upstream_tls: ClientTls | None = None,
        refused: str | None = None,
        protocol: str | None = None,
    ) -> Proxy:
        """Change what is given. Another address, or other TLS, drops the connections.

        Another protocol counts for connections to come; faults of the old one must be gone.
        Raises NotFound, ConfigurationError, Unavailable; the proxy is as before then.
        """
        proxy = self.get(name)
        was = proxy.spec
        wanted = was.protocol if protocol is None else protocol
        codec = self.registry.protocol(wanted, f"proxy {name}")
        spec = replace(
            was,
            listen=listen or was.listen,
            upstream=upstream or was.upstream,
            tls=tls or was.tls,
            upstream_tls=upstream_tls or was.upstream_tls,
        )
        check(spec, codec, f"proxy {name}")
        if not proxy.same_route(spec):
            route = ResolvedSpec.of(spec, codec)
            proxy = self.get(name)
            proxy.reroute(route)
        if refused is not None:
            proxy.refused = refused
        if codec is not proxy.protocol:
            for installed in proxy.toxics:
                if installed.per_exchange:
                    raise ConfigurationError(
                        f"proxy {name}: protocol: toxic {installed.name} acts on exchanges of"
                        f" {was.protocol}, remove it first"
                    )
            proxy.protocol = codec
        if enabled is True:
            was_up = proxy.enabled
            proxy.start()
            if not was_up:
                self._note(proxy, "up")
        elif enabled is False and proxy.enabled:
            proxy.disable()
            self._note(proxy, "down")
        self._tell()
        return proxy

    def delete(self, name: str) -> None:
        """Stop and forget a proxy. Raises NotFound."""
        self._forget(self.get(name))
        self._tell()

    def reset(self) -> None:
        """Start every stopped proxy and remove all toxics.

        Raises Unavailable if one could not start; all others have been reset by then.
        """
        failures: list[str] = []
        for proxy in in_slices(self.list()):
            if self._proxies.get(proxy.name) is not proxy:
                continue  # deleted meanwhile
            for installed in proxy.toxics:
                proxy.remove(installed.name)
                self._note(proxy, "removed", installed)
            proxy.release()
            was_up = proxy.enabled
            try:
                proxy.start()
                if not was_up:
                    self._note(proxy, "up")
            except Unavailable as error:
                failures.append(str(error))
        self._tell()
        if failures:
            raise Unavailable("; ".join(failures))

    def populate(self, entries: Sequence[Entry]) -> tuple[Proxy, ...]:
        """Create or replace proxies. One that is there with the same addresses is untouched.

        Everything is validated before anything changes; other calls may come between
        two proxies of many. Raises
        ConfigurationError, Conflict for a name given twice, Interrupted if an address
        could not be bound midway.
        """
        for name, count in Counter(spec.name for spec, _ in entries).items():
            if count > 1:
                raise Conflict(f"proxy already exists: {name} is given {count} times")
        self._check_room(sum(spec.name not in self._proxies for spec, _ in entries))
        ready = [
            (spec, self._install(spec, toxics), self._route(spec))
            for spec, toxics in in_slices(entries)
        ]
        done: list[Proxy] = []
        try:
            # The kernel takes milliseconds to find a free port among thousands that are taken.
            for spec, toxics, route in in_slices(ready, 5):
                there = self._proxies.get(spec.name)
                if there is not None and there.same_route(spec):
                    done.append(there)
                    continue
                if there is not None:
                    self._forget(there)
                done.append(self._make(spec, route, toxics))
        except Unavailable as error:
            raise Interrupted(str(error), done) from None
        finally:
            self._tell()
        return tuple(done)

    def close(self) -> None:
        """Close everything; every open perturbation is ended."""
        for proxy in self._proxies.values():
            proxy.close()
        self._proxies.clear()
        self._relay.close()

    # Toxics

    def add_toxic(self, proxy: str, spec: ToxicSpec) -> InstalledToxic:
        """Put a toxic on a proxy, in force at once on live connections too.

        Raises NotFound, Conflict for a name that is taken, ConfigurationError.
        """
        owner = self.get(proxy)
        where = f"toxic {spec.name or spec.type}"
        _check_toxics(len(owner.toxics) + 1, where)
        installed = InstalledToxic.of(spec, self.registry, where, owner.protocol)
        owner.add(installed)
        self._note(owner, "added", installed)
        return installed

    def update_toxic(
        self,
        proxy: str,
        name: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        exchange: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> InstalledToxic:
        """Change some attributes, and what else of ``ToxicSpec`` is given.

        Raises NotFound, ConfigurationError.
        """
        owner = self.get(proxy)
        was = owner.toxic(name)
        if exchange is not None:
            keys["exchange"] = dict(exchange)
        merged = {**was.spec.attributes, **(attributes or {})}
        spec = replace(was.spec, attributes=merged, **keys)
        installed = was.changed(spec, f"toxic {name}", owner.protocol)
        owner.replace(installed)
        self._note(owner, "changed", installed)
        return installed

    def remove_toxic(self, proxy: str, name: str) -> None:
        """Take a toxic away, at once. Raises NotFound."""
        owner = self.get(proxy)
        installed = owner.toxic(name)
        owner.remove(name)
        self._note(owner, "removed", installed)

    def release(self, proxy: str) -> None:
        """Reset the connections on which toxics act that have been removed. Raises NotFound."""
        self.get(proxy).release()

    def _check_room(self, more: int) -> None:
        if len(self._proxies) + more > MAX_PROXIES:
            raise ConfigurationError(
                f"too many proxies: {len(self._proxies)} and {more} more (maximum {MAX_PROXIES})"
            )

    def _refuse_taken(self, name: str) -> None:
        if name in self._proxies:
            raise Conflict("proxy already exists")

    def _install(self, proxy: ProxySpec, toxics: Iterable[ToxicSpec]) -> tuple[InstalledToxic, ...]:
        protocol = self.registry.protocol(proxy.protocol, f"proxy {proxy.name}")
        made: dict[str, InstalledToxic] = {}
        for spec in toxics:
            where = f"proxy {proxy.name}: toxic {spec.name or spec.type}"
            installed = InstalledToxic.of(spec, self.registry, where, protocol)
            if installed.name in made:
                raise ConfigurationError(f"{where}: there are two toxics of that name")
            made[installed.name] = installed
            _check_toxics(len(made), where)
        return tuple(made.values())

    def _route(self, spec: ProxySpec) -> ResolvedSpec:
        return ResolvedSpec.of(spec, self.registry.protocol(spec.protocol, f"proxy {spec.name}"))

    def _make(
        self, spec: ProxySpec, route: ResolvedSpec, toxics: Sequence[InstalledToxic]
    ) -> Proxy:
        protocol = self.registry.protocol(spec.protocol, f"proxy {spec.name}")
        proxy = Proxy(self._relay, spec.name, route, toxics, protocol)
        if spec.enabled:
            proxy.start()
        else:
            proxy.disable()
        self._proxies[spec.name] = proxy
        for installed in toxics:
            self._note(proxy, "added", installed)
        if not spec.enabled:
            self._note(proxy, "down")
        return proxy

    def _forget(self, proxy: Proxy) -> None:
        del self._proxies[proxy.name]
        for installed in proxy.toxics:
            self._note(proxy, "removed", installed)
        if not proxy.enabled:
            self._note(proxy, "up")
        proxy.stop()
        proxy.close()

    def _note(self, proxy: Proxy, change: str, installed: InstalledToxic | None = None) -> None:
        values = None if installed is None else installed.values()
        self._take_note(ToxicChanged(proxy.name, change, self._relay.clock.now(), who(), values))

    def _tell(self) -> None:
        known = self.proxied()
        if known != self._known:
            self._known = known
            self._changed()


def _check_toxics(count: int, where: str) -> None:
    """Raises ConfigurationError if a proxy cannot have ``count`` toxics."""
    if count > MAX_TOXICS:
        raise ConfigurationError(f"{where}: too many toxics on one proxy (maximum {MAX_TOXICS})")
