"""The front observer of one app: it begins and ends requests and talks to the sidecar."""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from dataclasses import replace
from typing import Any

from seism_middleware import harm, signals
from seism_middleware.contract import (
    SIDECAR_VARIABLE,
    TOKEN_VARIABLE,
    Attribution,
    BackgroundEnded,
    Census,
    CensusAsked,
    Clock,
    Harm,
    Hello,
    Hold,
    Looked,
    PerturbationBegan,
    PerturbationEnded,
    Proxies,
    Refused,
    RequestBegun,
    RequestEnded,
    SendCount,
    Welcome,
    worker_of,
)
from seism_middleware.correlate import Correlator
from seism_middleware.hits import HITS
from seism_middleware.ledger import Ledger
from seism_middleware.metrics import Metrics
from seism_middleware.patches import ALL, Patches
from seism_middleware.route import Routes
from seism_middleware.snapshot import snapshot
from seism_middleware.stream import Stream
from seism_middleware.tcp import received
from seism_middleware.telemetry import Telemetry, telemetry
from seism_middleware.traffic import Request, current
from seism_middleware.version import __version__
from seism_middleware.vitals import Vitals, thread_cpu
from seism_middleware.wire import clock_domain

__all__ = ["Observer", "configured", "current", "parse_address"]

MAX_SEND_COUNTS = 100
"""Connections listed in one observation."""
RECENT = 256
"""Requests remembered that are over."""
QUIET = 1.0
"""Seconds after which a request that still runs waits for something: a moment more is nothing."""
BLIND = ("pycurl", "bonsai", "pymssql", "pyodbc", "cx_Oracle", "grpc", "zmq", "confluent_kafka")
"""Modules that write to sockets from C, past every patch, and that no driver's patch covers."""

LEDGER = Ledger()
"""One per process: sockets belong to the process, not to an app."""
PATCHES = Patches(LEDGER)

_observers: dict[tuple[str, int, str | None], Observer] = {}
_lock = threading.Lock()
_all: weakref.WeakSet[Observer] = weakref.WeakSet()
_hooked = False


def parse_address(text: str, default_port: int | None = None) -> tuple[str, int]:
    """``(host, port)`` of ``host:port``, ``[ipv6]:port`` or ``http://host:port``.

    Raises ValueError, with a line for the user, for anything else.
    """
    rest = text.strip().removeprefix("http://").rstrip("/")
    host, colon, port = rest.rpartition(":")
    if default_port is not None and (not colon or "]" in port):
        host, port = rest, str(default_port)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536) or "/" in host:
        raise ValueError(f"{text!r} is not an address, host:port is expected")
    return host.strip("[]") or "127.0.0.1", int(port)


def configured(
    sidecar: str | None,
    token: str | None,
    interface: str,
    statsd: str | None = None,
    statsd_prefix: str = "seism",
    patch: str = ALL,
) -> Observer | None:
    """The observer for these options, one per sidecar and token; None without a sidecar.

    What is not given is read from the environment (``SEISM_SIDECAR``, ``SEISM_TOKEN``).
    Raises ValueError for an address that is none.
    """
    sidecar = sidecar or os.environ.get(SIDECAR_VARIABLE)
    token = token or os.environ.get(TOKEN_VARIABLE)
    if not sidecar:
        return None
    host, port = parse_address(sidecar)
    with _lock:
        key = (host, port, token)
        found = _observers.get(key)
        if found is None:
            found = _observers[key] = Observer((host, port), token, interface, patch=patch)
            if statsd:
                found.measure(*parse_address(statsd, 8125), statsd_prefix)
        return found


class Observer:
    """Observes requests and reports them to the sidecar at ``address`` (host, port).

    ``interface`` is ``wsgi`` or ``asgi``, ``patch`` a level of patching. Nothing is opened,
    started or patched before the first request of a process begins, so that a fork before it
    is harmless; a fork after it makes a new worker of the child.
    """

    def __init__(
        self,
        address: tuple[str, int],
        token: str | None,
        interface: str,
        ledger: Ledger = LEDGER,
        patches: Patches = PATCHES,
        patch: str = ALL,
    ) -> None:
        self.ledger = ledger
        self.patches = patches
        self._patch = patch
        self.interface = interface
        self._by_thread = interface == "wsgi"
        self.routes = Routes()
        self._guesses = Routes()
        self.correlator = Correlator(
            ledger, self._attributed, self._say, self._recent, self._sees_less, patches.look,
            lambda: any(name in sys.modules for name in BLIND),
        )  # fmt: skip
        self.stream = Stream(address, token, self._hello, self._receive, self._tick)
        self._domain = ""
        self._sidecar = ""
        self._shift = 0.0
        self._metrics: Metrics | None = None
        self._telemetry: Telemetry | None = None
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._started = False
        self._since = 0.0
        """When it began to be a worker."""
        self.worker = ""
        self._key = ""
        """Tells the sidecar after a reconnect that it is this worker."""
        self._running: dict[str, Request] = {}
        self._lately: deque[Request] = deque(maxlen=RECENT)
        """Those that are over: a busy worker hears late of what hit them."""
        self._vitals = Vitals()

    @property
    def in_flight(self) -> int:
        """Requests that run now."""
        return len(self._running)

    def measure(self, host: str, port: int, prefix: str) -> None:
        """Send metrics to the statsd server there."""
        self._metrics = Metrics(
            host, port, prefix, lambda: self.in_flight, lambda: self._vitals.cpu_percent()
        )
        self._metrics.subscribe(self)

    def start(self) -> None:
        """Become a worker of this process: an id, the patches, the stream."""
        global _hooked
        with self._lock:
            if self._started:
                return
            _all.add(self)
            if not _hooked:
                _hooked = True
                os.register_at_fork(after_in_child=_after_fork)
            self.worker = os.urandom(4).hex()
            self._key = os.urandom(8).hex()
            self._since = time.monotonic()
            self._numbers = itertools.count(1)
            self._domain = clock_domain()
            self._telemetry = telemetry(self)
            self.ledger.expect()
            self.patches.install(self._patch)
            self.patches.background.listeners.append(self._background_ended)
            self.stream.start()
            self._started = True

    def close(self) -> None:
        """Say goodbye to the sidecar and undo the patches; a test's counterpart of ``start``."""
        with _lock:
            for key in [key for key, known in _observers.items() if known is self]:
                del _observers[key]
        self.stream.close()
        self.correlator.close()
        if self._background_ended in self.patches.background.listeners:
            self.patches.background.listeners.remove(self._background_ended)
        self.ledger.watch(id(self), ())
        self.patches.uninstall()
        if self._metrics is not None:
            self._metrics.close()

    def _recent(self) -> list[Request]:
        """The requests in flight, and the last that are over."""
        return snapshot(self._lately) + snapshot(self._running.values())

    def _say(self, record: Harm | Hold | Looked) -> None:
        self.stream.send(record)

    def _sees_less(self) -> bool:
        """Whether anything that has been imported may own connections that the ledger misses."""
        return any(name in sys.modules for name in (*BLIND, *self.patches.drivers))

    def begin(self, method: str, path: str, scope: Any = None) -> Request:
        """A request begins: the sidecar is told before the app is.

        ``scope`` is the WSGI environ or the ASGI scope, in which the trace's id is looked up.
        """
        if not self._started:
            self.start()
        if self.patches.follow():
            self.stream.send(self._hello())
        began = time.monotonic()
        request = Request(f"{self.worker}-{next(self._numbers)}", method[:32], began)
        request.of(scope)
        self._running[request.id] = request
        if self._by_thread and self._vitals.cpu_due(began):
            request.thread, request.cpu = thread_cpu()
        guess = self._guesses.name(path)
        self.stream.send(RequestBegun(request.id, request.method, began, guess, request.client))
        return request

    def report(self, request: Request) -> None:
        """Send the observation of ``request`` as it is now, if it was not sent like this.

        Whatever is wrong with us, the app's response goes out.
        """
        try:
            self._report(request)
        except Exception:
            logging.getLogger(__name__).exception("the observation of %s is lost", request.id)

    def _report(self, request: Request) -> None:
        known = request.reported
        if known is None:
            for found in harm.ended(request, received):
                self.harmed(found)
            request.reported = self._observation(request)
        else:
            sends = _send_counts(request)
            if (
                known.status == request.status
                and known.body == request.body
                and known.exception == request.exception
                and known.retry_after == request.retry_after
                and len(known.errors) == len(request.errors)  # there are only ever more
                and known.sends == sends
            ):
                return
            request.reported = replace(
                known,
                status=request.status,
                body=request.body,
                exception=request.exception,
                frames=request.frames,
                retry_after=request.retry_after,
                errors=tuple(request.errors),
                sends=sends,
            )
        self.stream.send(request.reported)

    def finish(self, request: Request) -> None:
        """The middleware is done with ``request``; it must have its status and body by now."""
        if request.over is not None:
            return
        self.report(request)
        request.over = time.monotonic()
        self._lately.append(request)
        self._running.pop(request.id, None)
        signals.send("request_ended", self, request.reported)
        # Claims remember the request for long; they need no more than its id and times.
        request.sends = {}
        request.borrowed = []
        request.scope = None
        request.errors = []
        request.reported = None

    def _observation(self, request: Request) -> RequestEnded:
        now = time.monotonic()
        cpu = None
        if request.cpu is not None:
            thread, used = thread_cpu()
            if used is not None and thread == request.thread:
                cpu = used - request.cpu
        if self._vitals.due(now):
            self.ledger.prune()
        return RequestEnded(
            request=request.id,
            method=request.method,
            route=request.route[:200],
            began=request.began,
            duration=now - request.began,
            status=request.status,
            body=request.body,
            retry_after=request.retry_after,
            exception=request.exception,
            frames=request.frames,
            errors=tuple(request.errors),
            sends=_send_counts(request),
            cpu=cpu,
            rss=self._vitals.rss(now),
            connections=len(self.ledger),
            refused=tuple(Refused(*item) for item in (request.refused or {}).items()),
            client=request.client,
        )

    def _attributed(self, attribution: Attribution) -> None:
        self.stream.send(attribution)
        signals.send("attribution_made", self, attribution)

    def _background_ended(self, record: BackgroundEnded) -> None:
        self.stream.send(record)

    def _tick(self, now: float) -> float | None:
        """Do what is due at ``now``; returns the seconds until more is. In the stream's thread."""
        ticks = (self.correlator.tick(now), self.patches.background.tick(now))
        return min((each for each in ticks if each is not None), default=None)

    def harmed(self, found: Harm) -> None:
        """Report that a connection, or a value, went from one request to another."""
        self.stream.send(found)

    def _hello(self) -> Hello:
        return Hello(
            worker=self.worker,
            pid=os.getpid(),
            clock=Clock(self._domain, time.monotonic()),
            interface=self.interface,
            patched=self.patches.names,
            blind=self._blind(),
            key=self._key,
            version=__version__,
        )

    def _blind(self) -> tuple[str, ...]:
        found = [name for name in BLIND if name in sys.modules]
        return tuple(found if self.patches.names else ["socket", *found])

    def _receive(self, record: Any) -> None:
        """A record of the sidecar, in the stream's thread."""
        if isinstance(record, Welcome):
            shared = record.clock.domain == self._domain
            self._shift = 0.0 if shared else time.monotonic() - record.clock.now
        if isinstance(record, Welcome | Proxies):
            self.ledger.watch(id(self), record.proxies)
        if isinstance(record, Welcome):
            if self._sidecar not in ("", record.sidecar):
                self.correlator.start_anew()
            self._sidecar = record.sidecar
        elif isinstance(record, PerturbationBegan):
            before = record.at + self._shift < self._since
            if record.client and before:
                return  # of another worker: nothing was known here by then
            known = self.correlator.began(replace(record, at=record.at + self._shift))
            if known and not before:
                signals.send("perturbation_began", self, record)
        elif isinstance(record, PerturbationEnded):
            if self.correlator.ended(replace(record, at=record.at + self._shift)):
                signals.send("perturbation_ended", self, record)
        elif isinstance(record, CensusAsked):
            now = time.monotonic()
            rss = self._vitals.rss(now)
            rows = self.ledger.census(collect=self._is_quiet(now))
            background = self.patches.background
            running = background.running() if self._patch == ALL else None
            background.look()
            self.stream.send(Census(record.census, now, rss, rows, running))

    def _is_quiet(self, now: float) -> bool:
        """Whether no request runs that a collection of garbage would hold up."""
        return all(now - request.began > QUIET for request in snapshot(self._running.values()))


def observing(request: Request) -> list[Observer]:
    """The observer of this process that observes ``request``, if there is one."""
    worker = worker_of(request.id)
    return [observer for observer in list(_all) if observer.worker == worker]


def _send_counts(request: Request) -> tuple[SendCount, ...]:
    if not request.sends:
        return ()
    counts = list(request.sends.items())[:MAX_SEND_COUNTS]
    return tuple(
        SendCount(c.backend, c.local, sends, sent) for c, (sends, sent) in counts if c.backend
    )


def _after_fork() -> None:
    """A forked child is a worker of its own, and what is claimed is its parent's."""
    global _lock
    _lock = threading.Lock()
    for observer in list(_all):
        observer._renew()
        observer.ledger.forget()
        observer.patches.renew()
        observer.correlator.forget()
    HITS.renew()
