"""The tables of ``seism.toml`` that say what is done to the backends, when, and how far."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from seism import registry
from seism.client import Control
from seism.errors import ConfigurationError
from seism.model import DOWN, FRONT, STREAMS, ToxicSpec, address
from seism.options import names, option, part

REQUESTS = "requests"
SECONDS = "seconds"
ENDED_SECONDS = 2.0
"""How long the load waits until a toxic has ended the connections that are there."""
UNITS = (REQUESTS, SECONDS)
COLD_START_S = 4.0
"""How long a backend is away while the app is started, where ``lasting`` does not say."""
UNIT_HELP = "what the numbers count: requests of each worker, which a seed repeats, or seconds"


@dataclass(frozen=True)
class _Placed:
    """What comes first in a table of what is done to one backend."""

    __slots__ = ()

    name: str = option(help="unique name, shown in reports")
    backend: str = option(help="name of the backend")
    type: str = option(help="a toxic's type, or down")


@dataclass(frozen=True, slots=True)
class Planned(ToxicSpec, _Placed):
    """``[[perturbation]]``: one thing that is done to a backend, and undone."""

    name: str = option(help="unique name, shown in reports")
    type: str = option(help="a toxic's type, or down")
    stream: str = option(
        "upstream",
        help="which direction; only upstream can always be attributed exactly",
        choices=STREAMS,
    )
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
        0,
        help="with at: for how long; its aftershock follows. Without: in seconds, for how long at "
        "least, and for the requests of the load's during",
        minimum=0,
        maximum=1_000_000,
    )
    unit: str = option(UNITS[0], help=UNIT_HELP, choices=UNITS)
    cold_start: bool = option(
        False, help="the app is ended before it, and started again while it lasts (default: 4 s)"
    )

    def __post_init__(self) -> None:
        where = f"perturbation {self.name!r}"
        if self.cold_start and (self.route or self.at is not None or self.backend == FRONT):
            raise ConfigurationError(
                f"{where}: cold_start cannot have a route, at, or the backend {FRONT!r}"
            )
        if self.at is None:
            if self.lasting and self.unit == REQUESTS:
                raise ConfigurationError(
                    f"{where}: lasting needs at (when it begins), or unit = 'seconds'"
                )
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


@dataclass(frozen=True)
class _Named:
    """What comes first in a table of what is done to each backend."""

    __slots__ = ()

    name: str = option(help="unique name, shown in reports")
    type: str = option(help="a toxic's type, or down")


@dataclass(frozen=True, slots=True)
class SweptToxic(ToxicSpec, _Named):
    """``[[sweep.toxic]]``: what is tried on each exchange of each route."""

    name: str = option(help="unique name, shown in reports")
    type: str = option(help="a toxic's type, or down")
    stream: str = option(
        "upstream", help="upstream: the request; downstream: its reply", choices=STREAMS
    )
    cold_start: bool = option(
        False, help="the app is started while it lasts; tried once for each backend"
    )

    def __post_init__(self) -> None:
        if self.toxicity < 1 or self.connections or self.turn:
            raise ConfigurationError(
                f"toxic {self.name!r}: a sweep decides by itself what is affected:"
                " toxicity, connections and turn are not allowed"
            )

    def toxic(self) -> ToxicSpec:
        """As it would be added to a proxy."""
        return part(ToxicSpec, self, name="t")


SWEPT = (
    SweptToxic("slow", "latency", attributes={"latency": 3000}),
    SweptToxic("reset", "reset_peer"),
    SweptToxic("reply lost", "reset_peer", "downstream"),
    SweptToxic("silent", "timeout", "downstream"),
    SweptToxic("cut reply", "limit_data", "downstream", attributes={"bytes": 1}),
    SweptToxic("late", "late", "downstream"),
    SweptToxic("impatient", "impatient", "downstream"),
    SweptToxic("down", DOWN),
    SweptToxic("hung up", "accept_close"),
    SweptToxic("cold start", DOWN, cold_start=True),
)
"""What a sweep tries where the file says nothing."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """``[sweep]``: how ``seism sweep`` explores."""

    toxic: tuple[SweptToxic, ...] = option(
        (),
        help="what is tried; default: slow, reset, reply lost, silent, cut reply, late, "
        "impatient, down, hung up, cold start, and the "
        "usual faults of the backends' protocols",
    )
    exchanges: int = option(
        64,
        help="maximum number of exchanges of a request with one backend; repetitions in a loop are "
        "tried once",
        minimum=1,
        maximum=100,
    )
    learn: int = option(5, help="unperturbed requests of each route first", minimum=1)
    repeat: int = option(3, help="perturbed requests for each probe", minimum=1, maximum=100)
    after: int = option(8, help="requests after each probe: the aftershock", minimum=1)
    pairs: int = option(
        10, help="at most so many pairs of perturbations, after the single ones; 0: none",
        minimum=0, maximum=10_000,
    )  # fmt: skip

    def __post_init__(self) -> None:
        unique("toxic", [toxic.name for toxic in self.toxic])


@dataclass(frozen=True, slots=True)
class Mixed(ToxicSpec, _Placed):
    """``[[chaos.mix]]``: something that standing chaos may do."""

    name: str = option(help="unique name, shown in verdicts")
    type: str = option(help="a toxic's type, or down")
    stream: str = option("upstream", help="which direction", choices=STREAMS)
    weight: int = option(1, help="how often, beside the others", minimum=1, maximum=1000)

    def planned(self) -> Planned:
        """What is done."""
        return planned_of(self, self.backend)


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
        unique("mix", [mixed.name for mixed in self.mix])


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
    allow: tuple[str, ...] = option(
        (), help="backends to perturb although they look like production, or have public addresses"
    )


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
        unique("mix", [mixed.name for mixed in self.mix])

    def open_at(self, weekday: int, hour: int) -> bool:
        """Whether it may perturb; Monday is 0. From 22 to 6 goes over midnight."""
        begin, end = self.hours or (0, 24)
        within = begin <= hour < end if begin < end else hour >= begin or hour < end
        return within and (not self.days or weekday + 1 in self.days)


def overlap(one: Planned, other: Planned) -> bool:
    """Whether two scheduled ones last at the same time."""
    return (one.at or 0) < other.end and (other.at or 0) < one.end


def clash(one: Planned, other: Planned) -> bool:
    """Whether both take the same backend away, which only one can give back."""
    return one.type == other.type == DOWN and one.backend == other.backend


def planned_of(toxic: ToxicSpec, backend: str, **own: Any) -> Planned:
    """``toxic`` on a backend, with what is ``own`` to the perturbation or differs."""
    common = {name: getattr(toxic, name) for name in names(ToxicSpec)}
    if isinstance(toxic, SweptToxic | Planned):
        own = {"cold_start": toxic.cold_start, **own}
    return Planned(backend=backend, **{**common, **own})


def toxic_of(planned: Planned) -> ToxicSpec:
    """The toxic that a planned perturbation adds."""
    return part(ToxicSpec, planned, name=planned.toxic)


def begin(control: Control, planned: Planned) -> None:
    """Perturb, until ``undo``."""
    if planned.type == DOWN:
        control.enable(planned.backend, False)
        return
    control.add_toxic(planned.backend, asdict(toxic_of(planned)))
    if registry.load().toxic(planned.type).established:
        # The load goes on when the pools hold dead connections, not while they get their end.
        until = time.monotonic() + ENDED_SECONDS
        while control.awaits(planned.backend, planned.toxic) and time.monotonic() < until:
            time.sleep(0.01)


def undo(control: Control, planned: Planned) -> None:
    """Perturb no more."""
    if planned.type == DOWN:
        control.enable(planned.backend, True)
    else:
        control.remove_toxic(planned.backend, planned.toxic)


def unique(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"{what} {name!r} is there twice")
