"""The rules of the verdict, as the ``[rules]`` table of seism.toml declares them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seism.errors import ConfigurationError
from seism.options import option
from seism_middleware.contract import IN_TEST

P50_HELP = "half of the answers of a route in the control runs come within this; default: any time"
P99_HELP = "99 of 100 answers of a route in the control runs come within this; default: any time"


_HEARTBEAT = re.compile(
    r"(GET|HEAD) (.*/)?_*(lb)?(heartbeat|health(z|[-_]?check)?|ready(z)?|readiness|livez|liveness"
    r"|alive|ping)_*(/.*)?$"
)
"""A monitor asks again by its own clock: its answer's Retry-After would be for nobody."""


@dataclass(frozen=True, slots=True)
class RouteRules:
    """``[rules.route."GET /path/{id}"]``: what differs for one route."""

    deadline_ms: float | None = option(
        None, help="answers later than this are too slow", unit="ms", minimum=1
    )
    recover_s: float | None = option(
        None, help="how long it may take after a perturbation until it is as before", unit="s",
        minimum=0, maximum=600,
    )  # fmt: skip
    allow: tuple[int, ...] = option(
        (), help="further statuses that are as good as 503: for gateways 502 and 504, or 429",
        minimum=100,
    )  # fmt: skip
    retry_after: bool | None = option(None, help="a 503 must have Retry-After")
    error_log: bool | None = option(None, help="a 503 must have logged an error")
    statuses: tuple[int, ...] = option(
        (), help="the statuses that it has in the control runs; default: any below 500",
        minimum=100, maximum=599,
    )  # fmt: skip
    degraded: str = option(
        "amber",
        help="the colour of an answer with other content than in the control run",
        choices=("green", "amber", "red"),
    )
    p50_ms: float | None = option(None, help=P50_HELP, unit="ms", minimum=1)
    p99_ms: float | None = option(None, help=P99_HELP, unit="ms", minimum=1)


@dataclass(frozen=True, slots=True)
class Rules:
    """``[rules]``: what is green, amber and red."""

    deadline_ms: float = option(
        1000,
        help="an answer later than this is too slow; the deadline used is never less than "
        "deadline_factor times the control run's p99 of the route",
        unit="ms",
        minimum=1,
    )
    deadline_factor: float = option(
        10,
        help="times the control run's p99, so that a noisy machine changes no verdict",
        minimum=1,
    )
    recover_s: float = option(
        10,
        help="how long a route may take after a perturbation until it is as before; the "
        "aftershock lasts until it is, or until this time is over",
        unit="s",
        minimum=0,
        maximum=600,
    )
    recover_slow_s: float = option(
        5, help="a recovery that takes longer than this is amber", unit="s", minimum=0, maximum=600
    )
    background_recover_s: float = option(
        10,
        help="how long a consumer may take after a perturbation until it is there again",
        unit="s",
        minimum=0,
        maximum=600,
    )
    retry_after: bool = option(
        True, help="a 503 must have Retry-After to be green, unless the path is a heartbeat's"
    )
    error_log: bool = option(True, help="a 503 must have logged an error to be green")
    log_once: bool = option(False, help="a failure must be logged once only to be green")
    log_backend: bool = option(
        False, help="the error that is logged must name the backend, or its address, to be green"
    )
    log_credentials: bool = option(
        True, help="an error that is logged must hold no password or token to be green"
    )
    retries: int = option(
        5, help="how often a request that is hit may try the backend again to be green; as often "
        "as it does in the control run is once", minimum=0,
    )  # fmt: skip
    retry_storm: int = option(
        20, help="trying the backend again more often than this is red", minimum=0
    )
    connections_growth: int = option(
        2,
        help="open backend connections that failed requests of a route may leave behind",
        minimum=0,
    )
    pool_seconds: float = option(
        5,
        help="how long a pool that opens its connections by itself may take, after the "
        "aftershock, until it has them all again",
        unit="s",
        minimum=0,
        maximum=600,
    )
    memory_growth_mb: float = option(
        64, help="growth of a worker's memory over one perturbation", unit="MB", minimum=1
    )
    p50_ms: float | None = option(None, help=P50_HELP, unit="ms", minimum=1)
    p99_ms: float | None = option(None, help=P99_HELP, unit="ms", minimum=1)
    route: dict[str, RouteRules] = option({}, help="per route: 'METHOD /pattern'")

    def __post_init__(self) -> None:
        for name in self.route:
            method, _, path = name.partition(" ")
            if not method.isupper() or not path.startswith("/"):
                raise ConfigurationError(
                    f"route {name!r} is not allowed, it must be like 'GET /items/{{id}}'"
                )

    def quantiles(self, route: str) -> dict[float, float]:
        """Share of the answers in the control runs -> seconds within which they must come."""
        own = self.route.get(route, RouteRules())
        limits = {0.5: own.p50_ms or self.p50_ms, 0.99: own.p99_ms or self.p99_ms}
        return {share: ms / 1000 for share, ms in limits.items() if ms is not None}

    def of(self, route: str) -> Applied:
        """The rules that hold for ``route``, and for the request of a test to it."""
        route = route.partition(IN_TEST)[0]
        own = self.route.get(route, RouteRules())
        return Applied(
            deadline=(self.deadline_ms if own.deadline_ms is None else own.deadline_ms) / 1000,
            recover_s=self.recover_s if own.recover_s is None else own.recover_s,
            recover_slow_s=self.recover_slow_s,
            allow=own.allow,
            degraded=own.degraded,
            retry_after=own.retry_after
            if own.retry_after is not None
            else self.retry_after and not _HEARTBEAT.match(route),
            error_log=self.error_log if own.error_log is None else own.error_log,
            log_once=self.log_once,
            log_backend=self.log_backend,
            log_credentials=self.log_credentials,
        )


@dataclass(frozen=True, slots=True)
class Applied:
    """The rules for one route, resolved. Times are seconds."""

    deadline: float
    recover_s: float
    recover_slow_s: float
    allow: tuple[int, ...]
    degraded: str
    retry_after: bool
    error_log: bool
    log_once: bool
    log_backend: bool
    log_credentials: bool
