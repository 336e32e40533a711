"""The client that test suites use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import urlencode

from seism.client.control import Control
from seism.client.events import Feed
from seism.client.layers import Layers, undone
from seism.client.proxy import Proxy, ProxyValues
from seism.errors import Conflict, NotFound
from seism.model import address

DEFAULT_SIDECAR = "127.0.0.1:8474"


class Client(Control):
    """One sidecar. Threads may share it; ``with`` blocks that share it know of each other."""

    def __init__(
        self,
        sidecar: str = "",
        *,
        token: str | None = None,
        timeout: float = 10,
        keep_alive: bool = False,
    ) -> None:
        """``sidecar`` is ``host:port``, by default that of SEISM_SIDECAR, else
        127.0.0.1:8474; ``token`` by default that of SEISM_TOKEN. ``timeout`` is seconds
        for one call.

        Raises ConfigurationError for what is no address; nothing is connected yet.
        """
        if not sidecar or token is None:
            from seism_middleware.contract import SIDECAR_VARIABLE, TOKEN_VARIABLE
        if not sidecar:
            sidecar = os.environ.get(SIDECAR_VARIABLE) or DEFAULT_SIDECAR
        host, port = address(sidecar, "sidecar")
        if token is None:
            token = os.environ.get(TOKEN_VARIABLE, "")
        super().__init__(host, port, token, timeout, keep_alive=keep_alive)
        self._layers = Layers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.release()
        finally:
            self.close()

    def proxy(self, name: str) -> Proxy:
        """The handle of a proxy, whether it is there or not."""
        return Proxy(self, self._layers, name)

    def create(
        self, name: str, upstream: str, *, toxics: Iterable[Mapping[str, Any]] = (), **values: Any
    ) -> Proxy:
        """A proxy that stays, together with its ``toxics`` or not at all.

        ``values`` are its further fields: ``listen``, ``enabled``. Raises Conflict if the
        name is taken, ConfigurationError, SeismError if it cannot listen.
        """
        asked = {"name": name, "upstream": upstream, "toxics": list(toxics), **values}
        self.call("POST", "/proxies", asked)
        return self.proxy(name)

    @contextmanager
    def created(
        self, name: str, upstream: str, *, toxics: Iterable[Mapping[str, Any]] = (), **values: Any
    ) -> Iterator[Proxy]:
        """``create``, and deleted when the block ends."""
        ours: list[Proxy] = []

        def delete() -> None:
            for proxy in ours:
                try:
                    proxy.delete()
                except NotFound:
                    pass

        with undone(delete):
            if name not in self.proxies():
                ours.append(self.proxy(name))
            try:
                proxy = self.create(name, upstream, toxics=toxics, **values)
            except Conflict:
                ours.clear()
                raise
            yield proxy

    def populate(self, proxies: Iterable[Mapping[str, Any]]) -> list[ProxyValues]:
        """Create or replace proxies, with their toxics; one that is there with the same
        addresses is untouched. All are checked before any is made.
        """
        done: dict[str, list[ProxyValues]] = self.call("POST", "/populate", list(proxies))
        return done["proxies"]

    def reset(self) -> None:
        """Enable every proxy and remove every toxic."""
        self.call("POST", "/reset")

    def perturbations(
        self, *, timeout: float | None = None, after: str = "", patience: float = 10
    ) -> Feed:
        """The perturbations as they begin and end, from now on, until it is closed.

        With ``timeout`` the feed ends after as many seconds without a record. ``after``
        is the id of the last event that was seen. A connection that breaks is made anew,
        for at most ``patience`` seconds, and goes on where the old one was. What the
        sidecar could not keep that long, the feed counts as ``missed`` or ``lost``.
        """
        return Feed(self, timeout=timeout, after=after, patience=patience)

    def events(
        self,
        topics: Iterable[str],
        *,
        since: str = "now",
        timeout: float | None = None,
        after: str = "",
        patience: float = 10,
    ) -> Feed:
        """All records of some topics (``perturbations``, ``observations``, ``attributions``,
        ``opinions``, ``harms``, ``changes``), to be read with ``next_values``; the rest is as
        for ``perturbations``.

        ``since``: ``now``, or ``start`` for what the sidecar still has as well.
        """
        query = urlencode({"topics": ",".join(topics), "since": since})
        return Feed(self, timeout=timeout, after=after, patience=patience, query=query)
