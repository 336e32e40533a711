"""``seism.toml``: what an experiment is made of. Toxiproxy's JSON is read as well.

Strings may hold ``${NAME}``, taken from the environment; those of requests are put in by the load's
process alone. The app's command, address and
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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from seism import registry
from seism.errors import ConfigurationError
from seism.experiment import toxiproxy
from seism.experiment.perturbation import (
    REQUESTS,
    SECONDS,
    SWEPT,
    UNITS,
    Chaos,
    Limits,
    Mixed,
    Planned,
    Random,
    Sweep,
    SweptToxic,
    clash,
    overlap,
    toxic_of,
    unique,
)
from seism.experiment.request import (
    Action,
    Amounts,
    Load,
    Locust,
    Route,
    Setup,
    Step,
    check_placeholders,
)
from seism.experiment.target import FRONT_PROTOCOL, App, Backend, Front, Worker
from seism.model import (
    DOWN,
    FRONT,
    STREAMS,
    ProxySpec,
    ToxicSpec,
    address,
    unix_path,
)
from seism.options import build, nearest, option
from seism.protocols.fault import Fault
from seism.proxy.exchange_conditions import exchange_conditions
from seism.proxy.upgrade import check
from seism.toxics.base import Toxic
from seism.toxics.impatient import Impatient
from seism.verdict.rules import Rules

__all__ = [
    "FRONT_PROTOCOL",
    "REQUESTS",
    "SECONDS",
    "SWEPT",
    "UNITS",
    "VERSION",
    "Action",
    "Amounts",
    "App",
    "Backend",
    "Chaos",
    "Experiment",
    "Front",
    "Limits",
    "Load",
    "Locust",
    "Mixed",
    "Planned",
    "Random",
    "Route",
    "Setup",
    "Step",
    "Sweep",
    "SweptToxic",
    "clash",
    "fill",
    "load",
    "overlap",
    "placeholders",
    "substitute",
    "toxic_name",
    "toxic_of",
]
"""The tables have files of their own; all that the file is made of can be had from here."""

FAILOVER = "failover"
"""The name of what a sweep tries where a backend has a standby."""
OUTAGE_S = 6.0
"""How long a backend is away by default, at least: breakers and back-offs need time to show."""
VERSION = 1
"""Of the format of the file; raised when a key changes its meaning or goes away."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PLACEHOLDER = re.compile(r"\{([a-zA-Z0-9_.-]+)\}")


@dataclass(frozen=True, slots=True)
class Experiment:
    """The whole file."""

    version: int = option(
        VERSION, help="the version of this format", minimum=VERSION, maximum=VERSION
    )
    app: App | None = option(None, help="the application; seism run needs it")
    worker: tuple[Worker, ...] = option((), help="further processes of the application")
    backend: tuple[Backend, ...] = option((), help="the backends")
    front: Front | None = option(None, help="observe in front of the app, without a middleware")
    load: Load | None = option(None, help="the load; seism run needs it")
    setup: Setup | None = option(
        None, help="what the app and its clients need before the load; default: nothing"
    )
    perturbation: tuple[Planned, ...] = option(
        (),
        help="what is perturbed; default, for each backend: restart, goodbye where its protocol "
        "has last words, half-open, late, impatient, slow, reset and down",
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
        unique("worker", [worker.name for worker in self.worker])
        unique("backend", [backend.name for backend in self.backend])
        unique("perturbation", [planned.name for planned in self.perturbation])
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
            routes = {request.name for request in self.load.requests} if self.load else set()
            if planned.route and planned.route not in routes:
                raise ConfigurationError(
                    f"{where}: there is no [[load.route]] {planned.route!r}"
                    + nearest(planned.route, routes)
                )
            if planned.type == Impatient.type and not self._can_leave():
                raise ConfigurationError(
                    f"{where}: impatient needs the load of [[load.route]] with request_ids"
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
        """The perturbations, or, where none is given at all, the usual ones of each backend."""
        return self.perturbation if self.perturbation or self.random else self._default_plan()

    def _default_plan(self) -> tuple[Planned, ...]:
        """What servers do in real life, for each backend by its protocol."""
        known = registry.load()
        plan: list[Planned] = []
        for backend in self.backend:
            codec = known.protocol(backend.protocol, f"backend {backend.name!r}")
            usual: list[tuple[str, str, str, dict[str, Any], float]] = [
                ("restart", "restart", STREAMS[0], {}, 0),
                ("half-open", "half_open", STREAMS[0], {}, OUTAGE_S),
                ("late", "late", STREAMS[1], {}, 0),
                *([("impatient", "impatient", STREAMS[1], {}, 0)] if self._can_leave() else ()),
                ("slow", "latency", STREAMS[0], {"latency": 3000}, 0),
                ("reset", "reset_peer", STREAMS[0], {}, 0),
                ("down", DOWN, STREAMS[0], {}, OUTAGE_S),
            ]
            if codec is not None and codec.last_words:
                usual.insert(1, ("goodbye", "goodbye", STREAMS[0], {}, 0))
            plan += (
                Planned(
                    f"{backend.name} {what}",
                    backend.name,
                    type_,
                    stream,
                    attributes=attributes,
                    lasting=lasting,
                    unit=SECONDS if lasting else REQUESTS,
                )
                for what, type_, stream, attributes, lasting in usual
            )
        return tuple(plan)

    def _can_leave(self) -> bool:
        """Whether the clients of the load can be told to leave, and are known by their ids."""
        return self.load is None or (self.load.locust is None and self.load.request_ids)

    def _usual(self) -> tuple[Planned, ...]:
        return tuple(
            Planned(
                f"{backend.name} {what}", backend.name, type_, attributes=attributes,
                lasting=lasting, unit=SECONDS if lasting else REQUESTS,
            )
            for backend in self.backend
            for what, type_, attributes, lasting in (
                ("slow", "latency", {"latency": 3000}, 0),
                ("reset", "reset_peer", {}, 0),
                ("down", DOWN, {}, OUTAGE_S),
            )
        )  # fmt: skip

    def with_front(self, given: Mapping[str, Any]) -> Experiment:
        """The same with these keys of ``[front]``. Raises ConfigurationError."""
        own = {} if self.front is None else asdict(self.front)
        return replace(self, front=build(Front, {**own, **given}, FRONT))

    def swept(self) -> tuple[SweptToxic, ...]:
        """What a sweep tries."""
        if self.sweep.toxic:
            return tuple(_between_requests(toxic) for toxic in self.sweep.toxic)
        protocols = dict.fromkeys(each.protocol for each in self.backend if each.protocol)
        known = registry.load().protocols
        usual = [each for each in SWEPT if each.type != Impatient.type or self._can_leave()]
        return (*usual, *(
            SweptToxic(fault.swept, fault.type)
            for protocol in protocols for fault in known[protocol].faults
            if issubclass(fault, Fault) and fault.swept
        ), *self._failovers())  # fmt: skip

    def _failovers(self) -> Iterator[SweptToxic]:
        """What former primaries say."""
        known = registry.load().protocols
        backends = [each for each in self.backend if each.failover]
        for protocol in dict.fromkeys(each.protocol for each in backends if each.protocol):
            for fault in known[protocol].faults:
                if issubclass(fault, Fault) and fault.failover:
                    yield SweptToxic(FAILOVER, fault.type, established=True)

    def fits(self, toxic: SweptToxic, backend: str) -> bool:
        """Whether ``toxic`` can be tried on ``backend``: a fault is of one protocol."""
        return not self.unfit(toxic, backend)

    def unfit(self, toxic: SweptToxic, backend: str) -> str:
        """Why it cannot; empty if it can."""
        (found,) = (each for each in self.backend if each.name == backend)
        if toxic.type == DOWN:
            return ""
        if not self.sweep.toxic and toxic.name == FAILOVER and not found.failover:
            return f"backend {backend!r}: failover: expected true"
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


def _between_requests(toxic: SweptToxic) -> SweptToxic:
    """``toxic``, or what a sweep has in its place, see ``Fault.swept_as``."""
    type_ = registry.load().toxics.get(toxic.type)
    if type_ is None or not issubclass(type_, Fault) or not type_.swept_as:
        return toxic
    return replace(toxic, type=type_.swept_as, attributes={}, exchange={})


def toxic_name(toxic: ToxicSpec) -> str:
    """The name that a toxic has on its proxy."""
    return toxic.name or f"{toxic.type}_{toxic.stream}"


def load(path: Path, environ: Mapping[str, str] | None = None) -> Experiment:
    """Read and check a file. Raises ConfigurationError with the file and the key.

    ``environ`` is the process's own unless another is given.

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
        experiment = _from_toml(text, path, os.environ if environ is None else environ)
    if experiment.load is not None:
        check_placeholders(experiment.load, experiment.setup, path.parent, f"{path}:")
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
    values = _without_secrets(values, substitute(values, environ, str(path)))
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


def placeholders(name: str, listen: str) -> dict[str, str]:
    """The placeholders of the backend ``name`` whose proxy listens at ``listen``."""
    host, port = address(listen, name)
    if unix_path(host):
        return {f"{name}.address": listen, f"{name}.path": unix_path(host)}
    return {f"{name}.address": listen, f"{name}.host": host, f"{name}.port": str(port)}


def _without_secrets(raw: dict[str, Any], filled: dict[str, Any]) -> dict[str, Any]:
    """``filled`` with its requests as they are in ``raw``.

    ``Session`` hands their values to the load's process; names of routes and messages have none.
    """
    kept = {**filled, **({"setup": raw["setup"]} if "setup" in raw else {})}
    load = raw.get("load")
    if isinstance(load, dict) and isinstance(filled["load"], dict):
        own = {key: load[key] for key in ("route", "scenario") if key in load}
        kept["load"] = {**filled["load"], **own}
    planned = raw.get("perturbation")
    if isinstance(planned, list):
        kept["perturbation"] = [
            {**after, "route": before["route"]}
            if isinstance(before, dict) and "route" in before
            else after
            for before, after in zip(planned, filled["perturbation"], strict=True)
        ]
    return kept


def substitute(value: Any, environ: Mapping[str, str], where: str) -> Any:
    """``value`` with each ``${NAME}`` replaced by that variable of ``environ``.

    Raises ConfigurationError.
    """
    if isinstance(value, dict):
        return {key: substitute(item, environ, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, environ, where) for item in value]
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
    exchange_conditions(made, toxic.exchange, known.protocol(protocol, where), where)


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
