"""The tables of ``seism.toml`` that say what is requested: the load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seism.errors import ConfigurationError
from seism.experiment.answer import PATH
from seism.model import address
from seism.options import option


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
class Expect:
    """``[load.route.expect]``: what an answer below 400 must be, also while something is perturbed.

    ``json`` has values, or ranges, by their paths: ``{ "$.price" = { min = 1, max = 9 } }``.
    """

    statuses: tuple[int, ...] = option(
        (), help="its statuses; default: any below 400", minimum=100, maximum=399
    )
    json: dict[str, Any] = option({}, help="JSON path -> its value, or {min, max}")
    text: str = option("", help="text that is in it")

    def __post_init__(self) -> None:
        for path, wanted in self.json.items():
            if not PATH.fullmatch(path):
                raise ConfigurationError(f"json: expected a path like $.items[0].price, got {path}")
            if isinstance(wanted, dict) and not (
                wanted and set(wanted) <= {"min", "max"} and all(map(_is_number, wanted.values()))
            ):
                raise ConfigurationError(
                    f"json: {path}: expected a value or numbers as min and max, got {wanted}"
                )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Route:
    """``[[load.route]]``: one kind of request."""

    path: str = option(help="path and query")
    method: str = option("GET", help="HTTP method")
    weight: int = option(1, help="how often, beside the others", minimum=1, maximum=1000)
    headers: dict[str, str] = option({}, help="request headers")
    body: str = option("", help="request body")
    action: Action | None = option(None, help="what it does is to be done once")
    expect: Expect | None = option(None, help="what its answers must be")


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
    rate: float = option(
        0, help="requests per second, however long the app takes: an open loop, at times that the "
        "seed draws; 0: each worker waits for its answer", minimum=0, maximum=10_000,
    )  # fmt: skip
    timeout_s: float = option(
        15, help="a client gives up after this", unit="s", minimum=0.1, maximum=600
    )
    request_ids: bool = option(
        True,
        help="send each request with an id, in the header Seism-Request, by which the verdict "
        "knows what its client got",
    )

    def __post_init__(self) -> None:
        if bool(self.route) == (self.locust is not None):
            raise ConfigurationError("a [[load.route]] or [load.locust] is needed, and not both")

    @property
    def amounts(self) -> Amounts:
        """How long the phases are."""
        source = self.locust or self
        return Amounts(source.steady, source.during, source.after, source.again)
