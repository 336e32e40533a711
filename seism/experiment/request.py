"""The tables of ``seism.toml`` that say what is requested: the load."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from seism.errors import ConfigurationError
from seism.experiment.answer import PATH
from seism.experiment.user import BUILT_IN, Capture, columns, placeholders, rows
from seism.model import address
from seism.options import nearest, option

METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "PROPPATCH",
    "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "PURGE", "QUERY",
)  # fmt: skip
"""Methods that a request may have (RFC 9110, WebDAV, and what caches take)."""


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
class Request:
    """One HTTP request, which may have ``{placeholders}``."""

    path: str = option(help="path and query")
    method: str = option("GET", help="HTTP method")
    headers: dict[str, str] = option({}, help="request headers")
    body: str = option("", help="request body")
    json: Any = option(None, help="request body, sent as JSON")
    form: dict[str, str] = option({}, help="fields of a form")
    files: dict[str, str] = option(
        {}, help="files of a multipart form: field -> path, relative to this file"
    )

    def __post_init__(self) -> None:
        if not self.path.startswith(("/", "{", "${")):
            raise ConfigurationError(f"path: expected a path that begins with /, got {self.path!r}")
        if self.method not in METHODS:
            raise ConfigurationError(
                f"method: unknown method {self.method!r}{nearest(self.method, METHODS)}"
            )
        bodies = [bool(self.body), self.json is not None, bool(self.form or self.files)]
        if sum(bodies) > 1:
            raise ConfigurationError("expected one of body, json and form (with files)")

    @property
    def name(self) -> str:
        """``METHOD /path?query``, with its placeholders."""
        return f"{self.method} {self.path}"

    @property
    def texts(self) -> tuple[str, ...]:
        """Where each placeholder must have a value; in a body, unknown names stay."""
        return (self.path, *self.headers.values(), *self.form.values())


@dataclass(frozen=True, slots=True)
class Route(Request):
    """``[[load.route]]``: one kind of request."""

    weight: int = option(1, help="how often, beside the others", minimum=1, maximum=1000)
    action: Action | None = option(None, help="what it does is to be done once")
    expect: Expect | None = option(None, help="what its answers must be")


@dataclass(frozen=True, slots=True)
class Step(Request):
    """``[[setup.login]]`` and ``[[load.scenario.step]]``: one request of several in order."""

    capture: dict[str, str] = option(
        {},
        help="name -> where its value is: json:$.path, cookie:NAME, header:NAME, or form:FIELD of "
        "an HTML form; a pattern with one group may follow",
    )
    expect: Expect | None = option(None, help="what its answers must be")

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        for name, source in self.capture.items():
            if name in BUILT_IN or placeholders(f"{{{name}}}") != [name]:
                raise ConfigurationError(f"capture: {name!r} is not allowed as a name")
            Capture.of(source, f"capture: {name}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """``[[load.scenario]]``: what one user does, step by step; each step is a route in reports."""

    step: tuple[Step, ...] = option(help="the requests, in order")
    name: str = option("", help="for messages")
    weight: int = option(
        1, help="how often one step is sent, beside the routes", minimum=1, maximum=1000
    )

    def __post_init__(self) -> None:
        if not self.step:
            raise ConfigurationError("expected at least one [[load.scenario.step]]")


@dataclass(frozen=True, slots=True)
class Setup:
    """``[setup]``: what the app and its clients need before the load.

    Values from the environment (``${NAME}``) are put in by the load's process alone.
    """

    before: tuple[str, ...] = option(
        (), help="commands before the app starts, in its folder and environment; they talk to the "
        "backends directly",
    )  # fmt: skip
    after: tuple[str, ...] = option((), help="commands after everything has ended")
    seconds: float = option(
        120, help="maximum time of one command", unit="s", minimum=0.1, maximum=3600
    )
    login: tuple[Step, ...] = option(
        (), help="requests with which each worker logs in; it keeps its cookies"
    )
    headers: dict[str, str] = option({}, help="request headers of the load: {token} and the like")
    basic: str = option("", help="HTTP basic authentication of the load: user:password")
    accounts: str = option(
        "", help="CSV file, relative to this file, with a row of values for each worker"
    )
    expired: tuple[int, ...] = option(
        (401,),
        help="statuses after which a worker logs in anew, beside redirects to the login",
        minimum=300,
        maximum=499,
    )
    lasts_s: float = option(
        0, help="log in anew after this time; 0: only when a login has run out", unit="s", minimum=0
    )

    def __post_init__(self) -> None:
        if self.basic and ":" not in self.basic and "$" not in self.basic:
            raise ConfigurationError("basic: expected user:password")


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
    scenario: tuple[Scenario, ...] = option((), help="requests in order, by one user each")
    data: str = option(
        "", help="CSV file, relative to this file: each request of a route, and each pass of a "
        "scenario, takes the next row as values of placeholders",
    )  # fmt: skip
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
        if bool(self.route or self.scenario) == (self.locust is not None):
            raise ConfigurationError(
                "expected a [[load.route]] or [[load.scenario]], or else [load.locust]"
            )

    @property
    def requests(self) -> tuple[Route | Step, ...]:
        """All that is sent: the routes, then each step of each scenario."""
        return (*self.route, *(step for scenario in self.scenario for step in scenario.step))

    @property
    def amounts(self) -> Amounts:
        """How long the phases are."""
        source = self.locust or self
        return Amounts(source.steady, source.during, source.after, source.again)


def check_placeholders(load: Load, setup: Setup | None, folder: Path, where: str) -> None:
    """Whether each placeholder has a value by the time that it is needed; and each file is there.

    Raises ConfigurationError.
    """
    setup = setup or Setup()
    known = {*BUILT_IN, *columns(folder / setup.accounts, f"{where} setup.accounts")}
    for step in setup.login:
        _check(step, known, folder, f"{where} setup.login")
        known |= step.capture.keys()
    for name in sorted(unknown(setup.headers.values(), known)):
        raise ConfigurationError(f"{where} setup.headers: nothing captures {{{name}}}")
    known |= columns(folder / load.data, f"{where} load.data")
    for route in load.route:
        _check(route, known, folder, f"{where} load.route")
    for scenario in load.scenario:
        captured = set(known)
        for step in scenario.step:
            _check(step, captured, folder, f"{where} load.scenario {scenario.name}".rstrip())
            captured |= step.capture.keys()


def _check(request: Request, known: Container[str], folder: Path, where: str) -> None:
    for name in sorted(unknown(request.texts, known)):
        raise ConfigurationError(
            f"{where}: {request.name}: nothing gives {{{name}}} a value: capture it in an earlier "
            f"step, or write the value (always there: {', '.join(BUILT_IN)})"
        )
    for file in request.files.values():
        if not (folder / file).is_file():
            raise ConfigurationError(f"{where}: {request.name}: files: no file {file}")


def unknown(texts: Iterable[str], known: Container[str]) -> set[str]:
    """The placeholders in ``texts`` that are not ``known``."""
    return {name for text in texts for name in placeholders(text) if name not in known}


def requests(load: Load, setup: Setup | None, folder: Path) -> dict[str, Any]:
    """What the load's process is told of what it sends; files are those of ``folder``."""
    setup = setup or Setup()
    return {
        "routes": [_located(request, folder) for request in load.requests],
        "scenarios": [
            {"steps": len(scenario.step), "weight": scenario.weight} for scenario in load.scenario
        ],
        "data": rows(folder / load.data, "load.data") if load.data else [],
        "setup": {
            "login": [_located(step, folder) for step in setup.login],
            "accounts": rows(folder / setup.accounts, "setup.accounts") if setup.accounts else [],
            "headers": setup.headers,
            "basic": setup.basic,
            "expired": setup.expired,
            "lasts_s": setup.lasts_s,
        },
    }


def _located(request: Request, folder: Path) -> dict[str, Any]:
    files = {name: str((folder / file).absolute()) for name, file in request.files.items()}
    return asdict(replace(request, files=files))
