"""``seism.toml``: what an experiment is made of. Toxiproxy's JSON is read as well.

Strings may hold ``${NAME}``, taken from the environment. The app's command, address and
environment may hold ``{port}`` (a free port) and ``{backend.address}``,
``{backend.host}``, ``{backend.port}``: where that backend's proxy listens. One that
listens on a Unix socket has ``{backend.path}`` instead of host and port. Paths of PEM
files are relative to the file.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from seism import registry
from seism.errors import ConfigurationError
from seism.experiment import toxiproxy
from seism.model import (
    DOWN,
    FRONT,
    LISTEN_HELP,
    PROTOCOL_HELP,
    REFUSED,
    REFUSED_HELP,
    TLS_HELP,
    TURN_HELP,
    UPSTREAM_HELP,
    UPSTREAM_TLS_HELP,
    ClientTls,
    FrontOptions,
    Match,
    ProxySpec,
    ServerTls,
    ToxicSpec,
    address,
    show_address,
)
from seism.options import build, nearest, option
from seism.protocols.fault import Fault
from seism.proxy.exchanges import exchanges
from seism.proxy.upgrade import check
from seism.rules import Rules
from seism.toxics.base import Toxic

VERSION = 1
"""Of the format of the file; raised when a key changes its meaning or goes away."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
FRONT_PROTOCOL = "http"
"""What is spoken through the proxy in front of the app, so that HTTP's faults can be used."""
_PLACEHOLDER = re.compile(r"\{([a-zA-Z0-9_.-]+)\}")


@dataclass(frozen=True, slots=True)
class App:
    """``[app]``: how the application is started and reached."""

    command: tuple[str, ...] = option(
        (), help="the program and its arguments; what follows -- on the command line goes first"
    )
    url: str = option("http://127.0.0.1:{port}", help="where it answers")
    ready: str = option("/", help="path that answers below 500 once the app is up")
    start_seconds: float = option(
        20, help="how long it may take to get ready", unit="s", minimum=0.1, maximum=3600
    )
    env: dict[str, str] = option({}, help="environment variables for it")
    cwd: str = option(".", help="the folder it runs in, relative to the file")
    rewrite: bool = option(
        True,
        help="replace the backends' addresses by their proxies' in its environment and in .ini "
        "files that its command names",
    )
    redirect: bool = option(
        False, help="send the connects of a Python app's pure-Python clients to the proxies"
    )


@dataclass(frozen=True, slots=True)
class Backend:
    """``[[backend]]``: one server that the app depends on, behind its own proxy."""

    name: str = option(help="unique name")
    upstream: str = option(help=UPSTREAM_HELP)
    listen: str = option("127.0.0.1:0", help=LISTEN_HELP)
    enabled: bool = option(True, help="false: the backend is down from the start")
    toxic: tuple[ToxicSpec, ...] = option((), help="toxics that its proxy has from the start")
    tls: ServerTls | None = option(None, help=TLS_HELP)
    upstream_tls: ClientTls | None = option(None, help=UPSTREAM_TLS_HELP)
    refused: str = option("reset", help=REFUSED_HELP, choices=REFUSED)
    protocol: str = option("", help=PROTOCOL_HELP)

    def within(self, folder: Path) -> Backend:
        """The same with the paths of its PEM files taken from ``folder``."""

        def located(path: str) -> str:
            return str(folder / path) if path else ""

        tls, upstream_tls = self.tls, self.upstream_tls
        if tls is not None:
            tls = replace(tls, certificate=located(tls.certificate), key=located(tls.key))
        if upstream_tls is not None:
            upstream_tls = replace(upstream_tls, ca=located(upstream_tls.ca))
        return replace(self, tls=tls, upstream_tls=upstream_tls)

    def proxy(self) -> ProxySpec:
        """The proxy that stands before it."""
        return ProxySpec(
            self.name,
            self.upstream,
            self.listen,
            self.enabled,
            tls=self.tls,
            upstream_tls=self.upstream_tls,
            refused=self.refused,
            protocol=self.protocol,
        )


@dataclass(frozen=True, slots=True)
class Front(FrontOptions):
    """``[front]``: the app is observed by a proxy in front of it, instead of the middleware.

    Perturbations of the clients' side name ``front`` as their backend.
    """

    app: str = option("", help="where the app answers: http://host:port; default: [app].url")
    listen: str = option("127.0.0.1:0", help=LISTEN_HELP)
    toxic: tuple[ToxicSpec, ...] = option((), help="toxics that it has from the start")
    refused: str = option("reset", help=REFUSED_HELP, choices=REFUSED)

    def __post_init__(self) -> None:
        if self.app:
            url_address(self.app, "app")
        address(self.listen, "listen")

    def proxy(self, url: str) -> ProxySpec:
        """The proxy before the app at ``url``. Raises ConfigurationError."""
        if not url or "{" in url:
            raise ConfigurationError(f"{FRONT}: app is needed: where the app answers")
        upstream = show_address(*url_address(url, f"{FRONT}: app"))
        return ProxySpec(
            FRONT, upstream, self.listen, refused=self.refused, protocol=FRONT_PROTOCOL,
            front=FrontOptions(self.bad_gateway),
        )  # fmt: skip


def url_address(url: str, where: str) -> tuple[str, int]:
    """Host and port of an ``http://`` address. Raises ConfigurationError for anything else."""
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0]
    if not separator or scheme != "http" or not host or "@" in host:
        raise ConfigurationError(f"{where}: {url!r} is not allowed, http://host:port is expected")
    found = address(host if re.search(r":\d+$", host) else f"{host}:80", where)
    if not found[1]:
        raise ConfigurationError(f"{where}: {url!r} has no port")
    return found


@dataclass(frozen=True, slots=True)
class Action:
    """``[load.route.action]``: each request is one logical action, to be done once.

    It is sent with a key of its own, and sent again with the same key while it gets no whole
    response. Afterwards the app is asked how often each was done: an answer is a number.
    """

    count: str = option(help="path that answers how often: {key} is replaced by the key")
    header: str = option("Idempotency-Key", help="request header that has the key")
    retries: int = option(3, help="how often it is sent again", minimum=0, maximum=100)

    def __post_init__(self) -> None:
        if "{key}" not in self.count:
            raise ConfigurationError(f"count: {self.count!r} has no {{key}}")


@dataclass(frozen=True, slots=True)
class Route:
    """``[[load.route]]``: one kind of request."""

    path: str = option(help="path and query")
    method: str = option("GET", help="HTTP method")
    weight: int = option(1, help="how often, beside the others", minimum=1, maximum=1000)
    headers: dict[str, str] = option({}, help="request headers")
    body: str = option("", help="request body")
    action: Action | None = option(None, help="what it does is to be done once")


@dataclass(frozen=True, slots=True)
class Locust:
    """``[load.locust]``: Locust sends the requests, from this machine or from many.

    The times of the phases are seconds then.
    """

    file: str = option(help="the locustfile, relative to this file")
    users: int = option(8, help="users at the same time", minimum=1, maximum=1_000_000)
    spawn_rate: float = option(8, help="users started per second", minimum=0.01)
    processes: int = option(
        1, help="so many worker processes on this machine", minimum=1, maximum=256
    )
    workers: int = option(
        0, help="wait for so many workers that connect from elsewhere", minimum=0, maximum=10_000
    )
    listen: str = option("127.0.0.1:5557", help="host:port where those workers connect")
    start_seconds: float = option(
        60, help="how long it and its workers may take to be there, beside the spawning",
        unit="s", minimum=1, maximum=3600,
    )  # fmt: skip
    steady: float = option(10, help="the control run", unit="s", minimum=1)
    during: float = option(6, help="how long a perturbation lasts", unit="s", minimum=0.1)
    after: float = option(6, help="the aftershock", unit="s", minimum=0.1)
    again: float = option(
        6, help="the control run that follows all perturbations, 0: none", unit="s", minimum=0
    )

    def __post_init__(self) -> None:
        if self.workers and self.processes > 1:
            raise ConfigurationError("processes or workers, not both")
        address(self.listen, "listen")


@dataclass(frozen=True, slots=True)
class Amounts:
    """How long the phases are: requests of each worker, or Locust's seconds."""

    steady: float
    during: float
    after: float
    again: float


@dataclass(frozen=True, slots=True)
class Load:
    """``[load]``: the requests, as numbers per worker so that a seed repeats them exactly."""

    route: tuple[Route, ...] = option((), help="what is requested")
    locust: Locust | None = option(None, help="Locust sends the requests, instead of routes")
    workers: int = option(8, help="clients at the same time", minimum=1, maximum=256)
    steady: int = option(40, help="requests per worker in the control run", minimum=1)
    during: int = option(16, help="requests per worker while a perturbation lasts", minimum=1)
    after: int = option(16, help="requests per worker after it: the aftershock", minimum=1)
    after_seconds: float = option(
        5, help="the aftershock of a mixed load that is in seconds", unit="s", minimum=0.1
    )
    again: int = option(
        16, help="requests per worker in the control run that follows all perturbations, 0: none",
        minimum=0,
    )  # fmt: skip
    pause_ms: float = option(20, help="pause of a worker between requests", unit="ms", minimum=0)
    timeout_s: float = option(
        15, help="a client gives up after this", unit="s", minimum=0.1, maximum=600
    )

    def __post_init__(self) -> None:
        if bool(self.route) == (self.locust is not None):
            raise ConfigurationError("a [[load.route]] or [load.locust] is needed, and not both")

    @property
    def amounts(self) -> Amounts:
        """How long the phases are."""
        source = self.locust or self
        return Amounts(source.steady, source.during, source.after, source.again)


REQUESTS = "requests"
SECONDS = "seconds"
UNITS = (REQUESTS, SECONDS)
UNIT_HELP = "what the numbers count: requests of each worker, which a seed repeats, or seconds"


@dataclass(frozen=True, slots=True)
class Planned:
    """``[[perturbation]]``: one thing that is done to a backend, and undone."""

    name: str = option(help="unique name, shown in reports")
    backend: str = option(help="name of the backend")
    type: str = option(help="a toxic's type, or down")
    stream: str = option(
        "upstream",
        help="which direction; only upstream can always be linked exactly",
        choices=("upstream", "downstream"),
    )
    toxicity: float = option(
        1.0, help="the chance that a connection, or an exchange, is affected", minimum=0,
        maximum=1,
    )  # fmt: skip
    attributes: dict[str, Any] = option({}, help="the attributes of the toxic's type")
    match: Match | None = option(None, help="only clients that match; default: all")
    connections: int = option(
        0, help="only the first so many connections that it would affect, 0: all", minimum=0,
        maximum=1_000_000,
    )  # fmt: skip
    exchange: dict[str, Any] = option({}, help="only exchanges that match, where it is a fault")
    turn: int = option(0, help=TURN_HELP, minimum=0, maximum=1_000_000)
    route: str = option(
        "", help="only requests of this [[load.route]] are sent, one after the other: 'GET /path'"
    )
    occurrence: int = option(
        1, help="with a route: which of them is perturbed; those before it are not",
        minimum=1, maximum=1000,
    )  # fmt: skip
    at: float | None = option(
        None, help="scheduled: it begins so far into the mixed load, in which others may last, "
        "too; default: it has a phase of its own", minimum=0, maximum=1_000_000,
    )  # fmt: skip
    lasting: float = option(
        0, help="with at: for how long; its aftershock follows", minimum=0, maximum=1_000_000
    )
    unit: str = option(UNITS[0], help=UNIT_HELP, choices=UNITS)

    def __post_init__(self) -> None:
        where = f"perturbation {self.name!r}"
        if self.at is None:
            if self.lasting:
                raise ConfigurationError(f"{where}: lasting needs at: when it begins")
            return
        if self.route:
            raise ConfigurationError(f"{where}: it has a route or at, not both")
        if not self.lasting:
            raise ConfigurationError(f"{where}: at needs lasting: for how long")
        if self.unit == REQUESTS and (self.at % 1 or self.lasting % 1):
            raise ConfigurationError(f"{where}: at and lasting are whole numbers of requests")

    @property
    def end(self) -> float:
        """When a scheduled one is over, in its unit."""
        return (self.at or 0) + self.lasting

    @property
    def toxic(self) -> str:
        """The toxic's name, as perturbation records carry it; a slash would divide a URL."""
        return DOWN if self.type == DOWN else self.name.replace("/", "|")

    @property
    def exact(self) -> bool:
        """Triggered by route, occurrence and turn, not by chance or time."""
        return bool(self.route)


@dataclass(frozen=True, slots=True)
class SweptToxic:
    """``[[sweep.toxic]]``: what is tried on each exchange of each route."""

    name: str = option(help="unique name, shown in reports")
    type: str = option(help="a toxic's type, or down")
    stream: str = option(
        "upstream",
        help="upstream: the request; downstream: its reply",
        choices=("upstream", "downstream"),
    )
    attributes: dict[str, Any] = option({}, help="the attributes of the toxic's type")
    exchange: dict[str, Any] = option(
        {}, help="only exchanges that match, where it is a fault; nth is the sweep's"
    )

    def toxic(self) -> ToxicSpec:
        """As it would be added to a proxy."""
        attributes, exchange = dict(self.attributes), dict(self.exchange)
        return ToxicSpec(self.type, "t", self.stream, 1.0, attributes, exchange=exchange)


SWEPT = (
    SweptToxic("slow", "latency", attributes={"latency": 3000}),
    SweptToxic("reset", "reset_peer"),
    SweptToxic("reply lost", "reset_peer", "downstream"),
    SweptToxic("silent", "timeout", "downstream"),
    SweptToxic("cut reply", "limit_data", "downstream", {"bytes": 1}),
    SweptToxic("down", DOWN),
)
"""What a sweep tries where the file says nothing."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """``[sweep]``: how ``seism sweep`` explores."""

    toxic: tuple[SweptToxic, ...] = option(
        (),
        help="what is tried; default: slow, reset, reply lost, silent, cut reply, down, and the "
        "usual faults of the backends' protocols",
    )
    exchanges: int = option(
        4, help="at most so many exchanges of a request with one backend", minimum=1, maximum=100
    )
    learn: int = option(4, help="unperturbed requests of each route first", minimum=1)
    repeat: int = option(3, help="perturbed requests for each probe", minimum=1, maximum=100)
    after: int = option(8, help="requests after each probe: the aftershock", minimum=1)
    pairs: int = option(
        10, help="at most so many pairs of perturbations, after the single ones; 0: none",
        minimum=0, maximum=10_000,
    )  # fmt: skip

    def __post_init__(self) -> None:
        _unique("toxic", [toxic.name for toxic in self.toxic])


@dataclass(frozen=True, slots=True)
class Mixed:
    """``[[chaos.mix]]``: something that standing chaos may do."""

    name: str = option(help="unique name, shown in verdicts")
    backend: str = option(help="name of the backend")
    type: str = option(help="a toxic's type, or down")
    stream: str = option("upstream", help="which direction", choices=("upstream", "downstream"))
    toxicity: float = option(
        1.0, help="the chance that a connection is affected", minimum=0, maximum=1
    )
    attributes: dict[str, Any] = option({}, help="the attributes of the toxic's type")
    match: Match | None = option(None, help="only clients that match; default: all")
    exchange: dict[str, Any] = option({}, help="only exchanges that match, where it is a fault")
    weight: int = option(1, help="how often, beside the others", minimum=1, maximum=1000)

    def planned(self) -> Planned:
        """What is done."""
        return Planned(
            self.name, self.backend, self.type, self.stream, self.toxicity,
            dict(self.attributes), self.match, exchange=dict(self.exchange),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Random:
    """``[random]``: perturbations at random times over one mixed load, all from the seed.

    The plan is made before the run: the same seed gives the same one.
    """

    unit: str = option(UNITS[0], help=UNIT_HELP, choices=UNITS)
    length: float = option(
        200, help="how much of the load they are spread over", minimum=1, maximum=1_000_000
    )
    every: float = option(
        40, help="from the begin of one to the next, on average", minimum=1, maximum=1_000_000
    )
    lasting: float = option(
        16, help="how long each lasts on average; half as long at least, half as long again "
        "at most", minimum=1, maximum=1_000_000,
    )  # fmt: skip
    seed: int | None = option(None, help="the root of its chance; default: the run's", minimum=0)
    mix: tuple[Mixed, ...] = option(
        (), help="what is done; default: slow, reset and down for each backend"
    )

    def __post_init__(self) -> None:
        _unique("mix", [mixed.name for mixed in self.mix])


@dataclass(frozen=True, slots=True)
class Limits:
    """``[limits]``: where a run stops, and undoes what it has perturbed."""

    seconds: float = option(
        3600, help="maximum duration of the run, once the app is up", unit="s", minimum=1,
        maximum=1_000_000,
    )  # fmt: skip
    at_most: int = option(1, help="so many perturbations at the same time", minimum=1, maximum=100)
    red: int = option(
        0, help="stop when so many perturbations are red, 0: never", minimum=0, maximum=1000
    )
    error_percent: float = option(
        100, help="stop when more of the requests since the first perturbation have failed",
        unit="%", minimum=0, maximum=100,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chaos:
    """``[chaos]``: what ``seism serve`` does to real traffic, at random times."""

    per_hour: float = option(
        6, help="perturbations per hour, on average", minimum=0.01, maximum=36_000
    )
    seconds: float = option(
        30, help="how long each lasts on average; half as long at least, half as long again "
        "at most", unit="s", minimum=0.1, maximum=3600,
    )  # fmt: skip
    at_most: int = option(1, help="so many at the same time", minimum=1, maximum=100)
    hours: tuple[int, ...] = option(
        (), help="[from, to): hours of the day, local time; default: all", minimum=0, maximum=24
    )
    days: tuple[int, ...] = option(
        (), help="days of the week, 1 is Monday; default: all", minimum=1, maximum=7
    )
    budget_percent: float = option(
        5, help="when more of all requests fail within the window, it stops for good",
        unit="%", minimum=0, maximum=100,
    )  # fmt: skip
    window_s: float = option(
        300, help="the window of the error budget", unit="s", minimum=1, maximum=86_400
    )
    statsd: str = option(
        "", help="host:port of a statsd server that gets what is done and the verdicts"
    )
    statsd_prefix: str = option("seism", help="what the names there begin with")
    mix: tuple[Mixed, ...] = option(
        (), help="what is done; default: the file's perturbations, or slow, reset and down for "
        "each backend",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if len(self.hours) not in (0, 2):
            raise ConfigurationError(f"hours: {list(self.hours)} is not allowed, it must be two")
        if self.statsd:
            address(self.statsd, "statsd")
        _unique("mix", [mixed.name for mixed in self.mix])

    def open_at(self, weekday: int, hour: int) -> bool:
        """Whether it may perturb; Monday is 0. From 22 to 6 goes over midnight."""
        begin, end = self.hours or (0, 24)
        within = begin <= hour < end if begin < end else hour >= begin or hour < end
        return within and (not self.days or weekday + 1 in self.days)


@dataclass(frozen=True, slots=True)
class Experiment:
    """The whole file."""

    version: int = option(
        VERSION, help="the version of this format", minimum=VERSION, maximum=VERSION
    )
    app: App | None = option(None, help="the application; seism run needs it")
    backend: tuple[Backend, ...] = option((), help="the backends")
    front: Front | None = option(None, help="observe in front of the app, without a middleware")
    load: Load | None = option(None, help="the load; seism run needs it")
    perturbation: tuple[Planned, ...] = option(
        (), help="what is perturbed; default: slow, reset and down for each backend"
    )
    rules: Rules = field(
        default_factory=Rules, metadata=option({}, help="the rules of the verdict").metadata
    )
    random: Random | None = option(
        None, help="perturbations at random times, over one mixed load; default: none"
    )
    limits: Limits = field(
        default_factory=Limits, metadata=option({}, help="where a run stops").metadata
    )
    chaos: Chaos | None = option(None, help="standing chaos of seism serve; default: none")
    sweep: Sweep = field(
        default_factory=Sweep, metadata=option({}, help="how seism sweep explores").metadata
    )
    seed: int = option(1, help="the root of all chance", minimum=0)

    def __post_init__(self) -> None:
        _unique("backend", [backend.name for backend in self.backend])
        _unique("perturbation", [planned.name for planned in self.perturbation])
        backends = {backend.name for backend in self.backend}
        known = registry.load()
        if self.front is not None:
            if FRONT in backends:
                raise ConfigurationError(f"backend {FRONT!r}: that is the name of [front]")
            _check_toxics(FRONT, self.front.toxic, FRONT_PROTOCOL, known)
            backends.add(FRONT)
        for backend in self.backend:
            where = f"backend {backend.name!r}"
            address(backend.upstream, f"{where}: upstream")
            address(backend.listen, f"{where}: listen")
            check(backend.proxy(), known.protocol(backend.protocol, where), where)
            _check_toxics(where, backend.toxic, backend.protocol, known)
        for toxic in self.sweep.toxic:
            where = f"sweep: toxic {toxic.name!r}"
            if toxic.type != DOWN:
                declared = _declared(known, toxic.type, where)
                build(declared, toxic.attributes, f"{where}: attributes")
                if self.backend and not any(self.fits(toxic, each.name) for each in self.backend):
                    raise ConfigurationError(
                        f"{where}: {self.unfit(toxic, self.backend[0].name) or 'fits no backend'}"
                    )
        mixed = [each.planned() for table in (self.chaos, self.random) if table
                 for each in table.mix]  # fmt: skip
        self._check_schedule()
        for planned in (*self.perturbation, *mixed):
            where = f"perturbation {planned.name!r}"
            if planned.backend not in backends:
                raise ConfigurationError(
                    f"{where}: there is no backend {planned.backend!r}"
                    + nearest(planned.backend, backends)
                )
            toxics = {
                toxic_name(toxic)
                for name, owned in (
                    *((each.name, each.toxic) for each in self.backend),
                    (FRONT, self.front.toxic if self.front else ()),
                )
                for toxic in owned
                if name == planned.backend
            }
            if planned.toxic in toxics:
                raise ConfigurationError(f"{where}: its backend has a toxic of that name")
            routes = {f"{r.method} {r.path}" for r in self.load.route} if self.load else set()
            if planned.route and planned.route not in routes:
                raise ConfigurationError(
                    f"{where}: there is no [[load.route]] {planned.route!r}"
                    + nearest(planned.route, routes)
                )
            if planned.type != DOWN:
                protocols = {each.name: each.protocol for each in self.backend}
                protocol = protocols.get(planned.backend, FRONT_PROTOCOL)
                _check_toxic(toxic_of(planned), protocol, known, where)

    def _check_schedule(self) -> None:
        scheduled = [planned for planned in self.perturbation if planned.at is not None]
        units = {planned.unit for planned in scheduled}
        units |= {self.random.unit} if self.random else set()
        if REQUESTS in units and self.load is not None and self.load.locust is not None:
            raise ConfigurationError("unit: with Locust the mixed load is in seconds")
        if len(units) > 1:
            raise ConfigurationError("unit: one mixed load is in requests or in seconds, not both")
        for planned in scheduled:
            others = [each for each in scheduled if overlap(each, planned)]
            if len(others) > self.limits.at_most:
                raise ConfigurationError(
                    f"perturbation {planned.name!r}: {len(others)} would last at the same time, "
                    f"limits.at_most is {self.limits.at_most}"
                )
            if any(each is not planned and clash(each, planned) for each in others):
                raise ConfigurationError(
                    f"perturbation {planned.name!r}: its backend is down already"
                )

    def planned(self) -> tuple[Planned, ...]:
        """The perturbations, or, where none is given at all, three for each backend."""
        return self.perturbation if self.perturbation or self.random else self._usual()

    def _usual(self) -> tuple[Planned, ...]:
        return tuple(
            Planned(f"{backend.name} {what}", backend.name, type_, attributes=attributes)
            for backend in self.backend
            for what, type_, attributes in (
                ("slow", "latency", {"latency": 3000}),
                ("reset", "reset_peer", {}),
                ("down", DOWN, {}),
            )
        )

    def with_front(self, given: Mapping[str, Any]) -> Experiment:
        """The same with these keys of ``[front]``. Raises ConfigurationError."""
        own = {} if self.front is None else asdict(self.front)
        return replace(self, front=build(Front, {**own, **given}, FRONT))

    def swept(self) -> tuple[SweptToxic, ...]:
        """What a sweep tries."""
        if self.sweep.toxic:
            return self.sweep.toxic
        protocols = dict.fromkeys(each.protocol for each in self.backend if each.protocol)
        known = registry.load().protocols
        return (*SWEPT, *(
            SweptToxic(fault.swept, fault.type)
            for protocol in protocols for fault in known[protocol].faults
            if issubclass(fault, Fault) and fault.swept
        ))  # fmt: skip

    def fits(self, toxic: SweptToxic, backend: str) -> bool:
        """Whether ``toxic`` can be tried on ``backend``: a fault is of one protocol."""
        return not self.unfit(toxic, backend)

    def unfit(self, toxic: SweptToxic, backend: str) -> str:
        """Why it cannot; empty if it can."""
        (found,) = (each for each in self.backend if each.name == backend)
        if toxic.type == DOWN:
            return ""
        try:
            _check_toxic(toxic.toxic(), found.protocol, registry.load(), f"backend {backend!r}")
        except ConfigurationError as error:
            return str(error)
        return ""

    def mix(self) -> list[tuple[Planned, int]]:
        """What standing chaos may do, with weights."""
        if self.chaos is not None and self.chaos.mix:
            return [(mixed.planned(), mixed.weight) for mixed in self.chaos.mix]
        usable = [each for each in self.perturbation if not each.exact and each.at is None]
        return [(planned, 1) for planned in usable or self._usual()]

    def random_mix(self) -> list[tuple[Planned, int]]:
        """What ``[random]`` chooses from, with weights."""
        given = self.random.mix if self.random else ()
        if given:
            return [(mixed.planned(), mixed.weight) for mixed in given]
        return [(planned, 1) for planned in self._usual()]

    def proxies(self) -> tuple[tuple[ProxySpec, tuple[ToxicSpec, ...]], ...]:
        """What the sidecar makes: each back proxy with its toxics."""
        return tuple((backend.proxy(), backend.toxic) for backend in self.backend)

    def in_front(self) -> str:
        """The address of the app that ``[front]`` stands before, as it is written."""
        assert self.front is not None
        return self.front.app or (self.app.url if self.app else "")


def overlap(one: Planned, other: Planned) -> bool:
    """Whether two scheduled ones last at the same time."""
    return (one.at or 0) < other.end and (other.at or 0) < one.end


def clash(one: Planned, other: Planned) -> bool:
    """Whether both take the same backend away, which only one can give back."""
    return one.type == other.type == DOWN and one.backend == other.backend


def toxic_of(planned: Planned) -> ToxicSpec:
    """The toxic that a planned perturbation adds."""
    return ToxicSpec(
        planned.type,
        planned.toxic,
        planned.stream,
        planned.toxicity,
        dict(planned.attributes),
        planned.match,
        planned.connections,
        dict(planned.exchange),
        planned.turn,
    )


def toxic_name(toxic: ToxicSpec) -> str:
    """The name that a toxic has on its proxy."""
    return toxic.name or f"{toxic.type}_{toxic.stream}"


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Experiment:
    """Read and check a file. Raises ConfigurationError with the file and the key.

    A JSON array is Toxiproxy's configuration: proxies, and nothing else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(f"{path}: {reason}") from None
    if toxiproxy.recognised(path, text):
        experiment = _from_toxiproxy(text, path)
    else:
        experiment = _from_toml(text, path, environ)
    backends = tuple(backend.within(path.parent.absolute()) for backend in experiment.backend)
    return replace(experiment, backend=backends)


def _from_toxiproxy(text: str, path: Path) -> Experiment:
    entries = toxiproxy.read(text, path)
    backends = tuple(build(Backend, values, where) for where, values in entries)
    try:
        return Experiment(backend=backends)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _from_toml(text: str, path: Path, environ: Mapping[str, str]) -> Experiment:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    values = _substitute(values, environ, str(path))
    version = values.get("version", VERSION)
    if version != VERSION:
        raise ConfigurationError(
            f"{path}: version: {version!r} of the format is not known here, {VERSION} is"
        )
    command = values.get("app", {}).get("command") if isinstance(values.get("app"), dict) else None
    if isinstance(command, str):
        values["app"]["command"] = shlex.split(command)
    return build(Experiment, values, f"{path}:")


def fill(text: str, values: Mapping[str, str], where: str) -> str:
    """Put ``values`` in for the ``{placeholders}`` of ``text``."""

    def replacement(match: re.Match[str]) -> str:
        key = match[1]
        if key not in values:
            raise ConfigurationError(
                f"{where}: unknown placeholder {match[0]}{nearest(key, values)}"
            )
        return values[key]

    return _PLACEHOLDER.sub(replacement, text)


def _substitute(value: Any, environ: Mapping[str, str], where: str) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, environ, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, environ, where) for item in value]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        if match[1] not in environ:
            raise ConfigurationError(f"{where}: the environment has no {match[1]}")
        return environ[match[1]]

    return _VARIABLE.sub(replacement, value)


def _declared(known: registry.Registry, type_: str, where: str) -> type[Toxic]:
    try:
        return known.toxic(type_)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: type: {error}") from None


def _check_toxic(toxic: ToxicSpec, protocol: str, known: registry.Registry, where: str) -> None:
    made = build(_declared(known, toxic.type, where), toxic.attributes, f"{where}: attributes")
    exchanges(made, toxic.exchange, known.protocol(protocol, where), where)


def _check_toxics(
    owner: str, toxics: Iterable[ToxicSpec], protocol: str, known: registry.Registry
) -> None:
    names: set[str] = set()
    for toxic in toxics:
        where = f"{owner}: toxic {toxic_name(toxic)!r}"
        _check_toxic(toxic, protocol, known, where)
        if toxic_name(toxic) in names:
            raise ConfigurationError(f"{where}: it is there twice")
        names.add(toxic_name(toxic))


def _unique(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"{what} {name!r} is there twice")
