"""The sidecar process put together: proxies, journal, observers' streams, control API."""

from __future__ import annotations

import dataclasses
import logging
import os
import resource
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

from seism import __version__, signals
from seism.clock import MonotonicClock
from seism.errors import ConfigurationError
from seism.experiment.config import Experiment, load
from seism.experiment.plan import make
from seism.journal import SCHEMA, Journal, Manifest, ToxicChanged
from seism.model import FRONT, address, show_address
from seism.protocols.http import Http
from seism.proxy.collection import Collection
from seism.rng import Seed
from seism.sidecar.chaos import StandingChaos
from seism.sidecar.control import connections, dashboard, events, native, openapi, toxiproxy
from seism.sidecar.control.lease import Leases
from seism.sidecar.control.metrics import Metrics
from seism.sidecar.control.router import Router
from seism.sidecar.control.server import ControlServer
from seism.sidecar.feed import Feed
from seism.sidecar.front import Front
from seism.sidecar.hub import Hub
from seism.sidecar.statsd import ChaosCounters
from seism.verdict.request import Opinions
from seism_middleware.wire import STREAM_PATH

log = logging.getLogger(__name__)


def raise_file_limit() -> None:
    """Let this process have as many descriptors as it may: two for each connection.

    Listeners keep some of them back, by the limit that they are made under.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _hour() -> tuple[int, int]:
    """Weekday (0 is Monday) and hour, local time."""
    now = datetime.now().astimezone()
    return now.weekday(), now.hour


class Sidecar:
    """Everything that runs in the sidecar's process.

    A perturbation goes to the journal first, then to the observers by a direct call,
    then to whoever subscribed to its signal.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        host: str,
        port: int,
        seed: int,
        journal: Path,
        token: str,
        hold_ms: int = 20,
        any_user: bool = False,
        witness: bool = False,
    ) -> None:
        """Raises ConfigurationError, Conflict or Unavailable; nothing is left open then.

        ``any_user``: without a token, other local users may call as well.
        ``witness``: the journal has each exchange that changes something.
        ``hold_ms`` is for how long a toxic waits at most for an observer that asked for it.
        """
        clock = MonotonicClock()
        manifest = Manifest(
            schema=SCHEMA,
            version=__version__,
            seed=seed,
            clock=clock.domain,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            plan=tuple(step.to_dict() for step in make(experiment, seed)),
            rules=dataclasses.asdict(experiment.rules),
        )
        self.journal = Journal(journal, manifest, clock.now)
        self.feed = Feed(f"{os.getpid():x}{round(clock.now() * 1000):x}")
        self.hub = Hub(self.journal, clock, lambda: self.proxies.proxied(), self._published)
        self.proxies = Collection(
            Seed(seed), clock, self._perturbation, lambda: self.hub.proxies_changed(),
            note=self._changed,
        )  # fmt: skip
        if witness:
            self.proxies.witness(self.journal.write)
        self.hub.holds = self.proxies.hold(hold_ms / 1000)
        self._opinions = Opinions(experiment.rules)
        self.chaos: StandingChaos | None = None
        self._statsd: ChaosCounters | None = None
        self.front = Front(self.hub, Http) if experiment.front else None
        if self.front is not None:
            self.proxies.follow(self.front.follow)
        self.metrics = Metrics(self.proxies, self.hub, self.journal, self.feed)
        self._stop = Event()
        try:
            self.chaos = self._chaos(experiment, Seed(seed), clock)
            leases = Leases(self.proxies, clock, self.journal.write)
            for spec, toxics in experiment.proxies():
                self.proxies.create(spec, toxics)
            if experiment.front is not None:
                spec = experiment.front.proxy(experiment.in_front())
                self.proxies.create(spec, experiment.front.toxic)
            rows = [
                *toxiproxy.routes(self.proxies, leases),
                *leases.routes(),
                *(self.chaos.routes() if self.chaos is not None else ()),
                *native.routes(self.hub, self.journal, clock, self.proxies),
                *connections.routes(self.proxies),
                *events.routes(self.feed),
                *dashboard.routes(),
                *self.metrics.routes(lambda: router, lambda: self.control.refused),
            ]
            router = Router([*rows, *openapi.routes(rows, self.proxies.registry.toxics)])
            self.control = ControlServer(
                host,
                port,
                router,
                token=token,
                upgrades={STREAM_PATH: self.hub.serve},
                public=dashboard.public,
                any_user=any_user,
            )
        except BaseException:
            self.proxies.close()
            self.journal.close()
            raise

    @classmethod
    def configured(
        cls,
        config: Path | None,
        *,
        seed: int | None,
        front: Any = None,
        calm: bool = False,
        **options: Any,
    ) -> Sidecar:
        """From an experiment file, or, without one, empty. Raises the limit of open files.

        ``front`` are keys of ``[front]`` that come before the file's; ``calm``: without its
        standing chaos.
        """
        raise_file_limit()
        experiment = load(config) if config else Experiment()
        if front is not None:
            experiment = experiment.with_front(front)
        if calm:
            experiment = dataclasses.replace(experiment, chaos=None)
        seed = experiment.seed if seed is None else seed
        return cls(experiment, seed=seed, witness=calm, **options)

    @property
    def address(self) -> str:
        """``host:port`` of the control API."""
        return show_address(*self.control.address)

    @property
    def front_address(self) -> str:
        """``host:port`` where clients find the app, empty without ``[front]``."""
        return self.proxies.get(FRONT).listen if self.front is not None else ""

    def run_until_stopped(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT, then close everything in order.

        ``ready`` is called once requests are served and the signals are heard.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self._stop.set)
        self.control.start()
        if self.chaos is not None:
            self.chaos.start()
        ready()
        self._stop.wait()
        self.close()

    def close(self) -> None:
        """End the perturbations, the streams and the journal, in that order."""
        self.proxies.close()
        if self.front is not None:
            self.front.close()
        self.feed.close()
        if self._statsd is not None:
            self._statsd.close()
        self.control.close()
        self.journal.close()

    def _chaos(self, experiment: Experiment, seed: Seed, clock: MonotonicClock) -> Any:
        if experiment.chaos is None:
            return None
        mix = experiment.mix()
        if not mix:
            raise ConfigurationError("chaos: there is no [[backend]] to perturb")
        if experiment.chaos.statsd:
            where = address(experiment.chaos.statsd, "chaos.statsd")
            self._statsd = ChaosCounters(*where, experiment.chaos.statsd_prefix)
        return StandingChaos(
            experiment.chaos, mix, experiment.rules, self.proxies, seed, clock, self._judged, _hour
        )

    def _judged(self, record: Any) -> None:
        """A record of standing chaos."""
        self.journal.write(record)
        self.metrics.count(record)
        self.feed.publish(record)
        if self._statsd is not None:
            self._statsd.count(record)

    def _changed(self, record: ToxicChanged) -> None:
        self.journal.write(record)
        self.feed.publish(record)

    def _perturbation(self, record: Any) -> None:
        self.journal.write(record)
        self.hub.perturbed(record)
        if self.front is not None:
            self.front.perturbation(record)
        self.metrics.count(record)
        self._published(record)

    def _published(self, record: Any, size: int = 0) -> None:
        if self.chaos is not None:
            self.chaos.observe(record)
        self.feed.publish(record, size)
        for opinion in self._opinions.of(record):
            self.feed.publish(opinion)
        signals.send(self, record)
