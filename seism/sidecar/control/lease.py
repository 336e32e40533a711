"""Leases: what a runner has perturbed is undone when it is not heard of any more.

A call that carries the header ``Seism-Lease`` does what it does under that lease: the
toxic that it adds is removed, and the proxy that it disables is enabled, when the lease
is given back or runs out. A lease that has run out perturbs nothing any more: a runner
that was stopped for a while is told so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import gevent
from webob import Request, Response

from seism.clock import Clock
from seism.errors import Conflict, NotFound, SeismError
from seism.journal import LeaseEnded
from seism.options import build, option
from seism.proxy.collection import Collection, acting
from seism.proxy.installed_toxic import InstalledToxic
from seism.sidecar.control.router import LEASE_HEADER, Route, answer, empty, read_json

logger = logging.getLogger(__name__)

MAX_LEASES = 1024
EXPIRED = "expired"
RELEASED = "released"


class Crowded(SeismError):
    """There are ``MAX_LEASES`` leases already."""

    status = 503


@dataclass(frozen=True, slots=True)
class LeaseAsked:
    """Body of ``POST /seism/leases``."""

    seconds: float = option(
        help="how long it lasts without being renewed", unit="s", minimum=0.1, maximum=86_400
    )


@dataclass(frozen=True, slots=True)
class LeaseShown:
    """A lease that was granted."""

    lease: str
    seconds: float


@dataclass(slots=True)
class _Lease:
    seconds: float
    until: float
    toxics: list[tuple[str, InstalledToxic]] = field(default_factory=list)
    """(proxy, toxic) of those added under it."""
    outages: set[str] = field(default_factory=set)


class Leases:
    """All leases of one sidecar. Lives on the event loop."""

    def __init__(
        self, collection: Collection, clock: Clock, write: Callable[[LeaseEnded], None]
    ) -> None:
        self._collection = collection
        self._clock = clock
        self._write = write
        self._leases: dict[str, _Lease] = {}
        self._count = 0

    def grant(self, seconds: float) -> str:
        """A new lease's name. Raises Crowded."""
        if len(self._leases) >= MAX_LEASES:
            raise Crowded(f"too many leases (maximum {MAX_LEASES}): give one back first")
        self._count += 1
        name = f"lease-{self._count}"
        self._leases[name] = _Lease(seconds, self._clock.now() + seconds)
        gevent.spawn(self._watch, name)
        return name

    def renew(self, name: str) -> None:
        """It lasts as long again, from now. Raises NotFound."""
        lease = self._get(name)
        lease.until = self._clock.now() + lease.seconds

    def end(self, name: str, why: str = RELEASED) -> None:
        """Undo what was done under it. Raises NotFound."""
        lease = self._get(name)
        del self._leases[name]
        with acting(name):
            undone = [*self._remove_toxics(lease), *self._end_outages(lease)]
        if undone or why == EXPIRED:
            self._write(LeaseEnded(name, self._clock.now(), why, tuple(undone)))
        if why == EXPIRED:
            logger.warning("%s has run out; undone: %s", name, ", ".join(undone) or "nothing")

    def check(self, request: Request) -> None:
        """Raises Conflict for a call under a lease that is over."""
        name = request.headers.get(LEASE_HEADER)
        if name and name not in self._leases:
            raise Conflict(f"the lease {name!r} is over, and what was done under it is undone")

    def toxic_added(self, request: Request, proxy: str, toxic: InstalledToxic) -> None:
        lease = self._of(request)
        if lease is not None:
            lease.toxics.append((proxy, toxic))

    def switched(self, request: Request, proxy: str, enabled: bool) -> None:
        """``proxy`` was enabled or disabled; whoever enables it ends every lease's outage."""
        if enabled:
            for each in self._leases.values():
                each.outages.discard(proxy)
            return
        lease = self._of(request)
        if lease is not None:
            lease.outages.add(proxy)

    def routes(self) -> list[Route]:
        """The rows, to be put into a Router."""

        def grant(request: Request) -> Response:
            asked = build(LeaseAsked, read_json(request), "body")
            return answer({"lease": self.grant(asked.seconds), "seconds": asked.seconds}, 201)

        def renew(request: Request, lease: str) -> Response:
            self.renew(lease)
            return empty()

        def release(request: Request, lease: str) -> Response:
            self.end(lease)
            return empty()

        return [
            Route(
                "POST", "/seism/leases", grant, "Grant a lease for what a runner perturbs",
                takes=LeaseAsked, gives=LeaseShown, status=201, errors=(503,),
            ),
            Route("PUT", "/seism/leases/{lease}", renew, "Renew a lease", status=204),
            Route(
                "DELETE", "/seism/leases/{lease}", release,
                "Give a lease back: what was done under it is undone", status=204,
            ),
        ]  # fmt: skip

    def _watch(self, name: str) -> None:
        while name in self._leases:
            left = self._leases[name].until - self._clock.now()
            if left <= 0:
                self.end(name, EXPIRED)
                return
            gevent.sleep(left)

    def _get(self, name: str) -> _Lease:
        try:
            return self._leases[name]
        except KeyError:
            raise NotFound("lease not found") from None

    def _of(self, request: Request) -> _Lease | None:
        return self._leases.get(request.headers.get(LEASE_HEADER, ""))

    def _remove_toxics(self, lease: _Lease) -> list[str]:
        undone = []
        for proxy, toxic in lease.toxics:
            try:
                # One of the same name may be somebody else's by now.
                if self._collection.get(proxy).toxic(toxic.name).same_as(toxic):
                    self._collection.remove_toxic(proxy, toxic.name)
                    undone.append(f"{toxic.name} on {proxy}")
            except NotFound:
                continue
        for proxy in {proxy for proxy, _ in lease.toxics}:
            with suppress(NotFound):
                self._collection.release(proxy)
        return undone

    def _end_outages(self, lease: _Lease) -> list[str]:
        undone = []
        for proxy in sorted(lease.outages):
            try:
                if not self._collection.get(proxy).enabled:
                    self._collection.update(proxy, enabled=True)
                    undone.append(f"down on {proxy}")
            except SeismError as error:
                logger.error("%s stays down: %s", proxy, error)
        return undone
