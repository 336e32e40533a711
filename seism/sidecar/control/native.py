"""Seism's own routes, beside Toxiproxy's: what an experiment tells the sidecar.

Each answer waits until the journal is on the disk, so that a runner can read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from webob import Request, Response

from seism.clock import Clock
from seism.errors import ConfigurationError, Unavailable
from seism.journal import (
    OUTCOMES,
    AppEnded,
    ClientRequest,
    Consumers,
    Diagnosis,
    Journal,
    LoadDone,
    Phase,
    Plan,
    Reached,
    Stopped,
)
from seism.options import build, option
from seism.proxy.collection import Collection
from seism.sidecar.control.router import BODY_LIMIT, Route, answer, empty, failure, read_json
from seism.sidecar.hub import Hub
from seism_middleware.contract import client_id
from seism_middleware.wire import PROTOCOL, STREAM_PATH

CENSUS_SECONDS = 5.0
"""How long the workers may take to list their connections."""
DISK_SECONDS = 10.0
_MAX_ROUTE = _MAX_TEXT = 300
PHASES = ("warmup", "steady", "during", "after", "mixed", "control", "end")


@dataclass(frozen=True, slots=True)
class PhaseAsked:
    """Body of ``POST /seism/phase``."""

    phase: str = option(help="what begins", choices=PHASES)
    step: int | None = option(None, help="index of the planned perturbation", minimum=0)
    name: str = option("", help="its name")
    active: tuple[int, ...] = option(
        (), help="mixed: indices of the planned perturbations that last", minimum=0
    )
    flowing: bool = option(False, help="the load goes on while it begins")


@dataclass(frozen=True, slots=True)
class AppEndReported:
    """Body of ``POST /seism/app-ended``."""

    step: int = option(help="index of the planned perturbation", minimum=0)
    code: int | None = option(None, help="exit code, or minus the signal; default: it still runs")
    said: tuple[str, ...] = option((), help="the last lines of its log")
    process: str = option("", help="the name of the worker that it was; default: the app itself")


@dataclass(frozen=True, slots=True)
class DiagnosisReported:
    """Body of ``POST /seism/diagnosis``."""

    findings: tuple[str, ...] = option(help="what the doctor found, one line each")


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Body of ``POST /seism/stopped``."""

    why: str = option(help="which limit it has come to")


@dataclass(frozen=True, slots=True)
class PlanAsked:
    """Body of ``POST /seism/plan``."""

    steps: tuple[dict[str, Any], ...] = option(help="the planned perturbations, in order")


@dataclass(frozen=True, slots=True)
class LoadReported:
    """Body of ``POST /seism/load``."""

    segment: str = option(help="which requests")
    requests: int = option(help="how many were sent", minimum=0)
    routes: dict[str, Any] = option(help="per route: counts, statuses, times")
    actions: dict[str, Any] = option({}, help="per route of actions: how often they were done")
    whole: bool = option(False, help="of all phases so far, not of one")
    logins: dict[str, Any] = option({}, help="why workers logged in again, and logins that failed")


@dataclass(frozen=True, slots=True)
class ClientsReported:
    """Body of ``POST /seism/clients``."""

    requests: tuple[Any, ...] = option(
        help="of each request of the load: id, route, when it was sent, seconds, outcome, status; "
        "then, if known, the target of a redirect, the type as which the body does not parse, "
        "what is not as expected, the id of the content, and its parts"
    )


@dataclass(frozen=True, slots=True)
class WorkerShown:
    """One worker of the app."""

    worker: str
    pid: int
    in_flight: int
    """Requests that have begun and not ended."""


@dataclass(frozen=True, slots=True)
class WorkersShown:
    """The workers, and what their streams have brought."""

    observed: int
    dropped: int
    workers: list[WorkerShown]


@dataclass(frozen=True, slots=True)
class CensusShown:
    """How many workers have answered."""

    answered: int


def routes(hub: Hub, journal: Journal, clock: Clock, collection: Collection) -> list[Route]:
    """The routes, to be put into a Router."""

    def workers(_: Request) -> Response:
        return answer(
            {
                "observed": hub.observed,
                "dropped": hub.dropped,
                "workers": [
                    {"worker": worker.name, "pid": worker.pid, "in_flight": len(worker.in_flight)}
                    for worker in hub.workers
                ],
            }
        )

    def phase(request: Request) -> Response:
        asked = build(PhaseAsked, read_json(request), "body")
        journal.write(
            Phase(asked.phase, clock.now(), asked.step, asked.name, asked.active, asked.flowing)
        )
        journal.write(reached())
        return synced(empty)

    def plan(request: Request) -> Response:
        steps = build(PlanAsked, read_json(request), "body").steps
        journal.write(Plan(steps), size=BODY_LIMIT)
        return synced(empty)

    def load(request: Request) -> Response:
        reported = build(LoadReported, read_json(request), "body")
        journal.write(
            LoadDone(
                reported.segment, reported.requests, reported.routes, reported.actions or None,
                reported.whole, reported.logins or None,
            ),
            size=BODY_LIMIT,
        )  # fmt: skip
        return synced(empty)

    def clients(request: Request) -> Response:
        for fields in build(ClientsReported, read_json(request), "body").requests:
            journal.write(_client(fields))
        return empty()  # what the load has done follows, and waits for the disk

    def app_ended(request: Request) -> Response:
        told = build(AppEndReported, read_json(request), "body")
        journal.write(AppEnded(clock.now(), told.step, told.code, told.said, told.process))
        return synced(empty)

    def diagnosis(request: Request) -> Response:
        told = build(DiagnosisReported, read_json(request), "body")
        journal.write(Diagnosis(clock.now(), told.findings))
        return synced(empty)

    def stopped(request: Request) -> Response:
        journal.write(Stopped(clock.now(), build(StopAsked, read_json(request), "body").why))
        return synced(empty)

    def census(_: Request) -> Response:
        answered = hub.take_census(CENSUS_SECONDS)
        journal.write(reached())
        found = (each for proxy in collection.list() for each in proxy.consumers())
        journal.write(Consumers(clock.now(), tuple(found)))
        return synced(lambda: answer({"answered": answered}))

    def reached() -> Reached:
        return Reached(
            clock.now(),
            {
                proxy.name: {"connections": proxy.accepted, "bytes": proxy.traffic()[0].received}
                for proxy in collection.list()
                if proxy.enabled
            },
        )

    def synced(respond: Callable[[], Response]) -> Response:
        # The writing thread signals a native event: waiting for it must not stop the loop.
        written = journal.sync()
        if not gevent.get_hub().threadpool.apply(written.wait, (DISK_SECONDS,)):
            raise Unavailable(f"the journal was not written within {DISK_SECONDS:g} s")
        if journal.failure is not None:
            journal.check()
        return respond()

    def stream(_: Request) -> Response:
        # A request that does upgrade never gets here: the server takes it out of HTTP.
        response = failure(f"an upgrade to {PROTOCOL} is needed", 426)
        response.headers["Upgrade"] = PROTOCOL
        return response

    return [
        Route("GET", "/seism/workers", workers, "The workers of the app", gives=WorkersShown),
        Route(
            "POST", "/seism/phase", phase, "Journal that a phase begins",
            takes=PhaseAsked, status=204,
        ),
        Route(
            "POST", "/seism/plan", plan, "Journal the plan, where it is not the file's",
            takes=PlanAsked, status=204,
        ),
        Route(
            "POST", "/seism/load", load, "Journal what a load generator saw",
            takes=LoadReported, status=204,
        ),
        Route(
            "POST", "/seism/clients", clients, "Journal what the clients of a load generator saw",
            takes=ClientsReported, status=204,
        ),
        Route(
            "POST", "/seism/app-ended", app_ended, "Journal that the app has ended by itself",
            takes=AppEndReported, status=204,
        ),
        Route(
            "POST", "/seism/diagnosis", diagnosis, "Journal what the doctor found",
            takes=DiagnosisReported, status=204,
        ),
        Route(
            "POST", "/seism/stopped", stopped, "Journal that a run stops before its plan is done",
            takes=StopAsked, status=204,
        ),
        Route(
            "POST", "/seism/census", census, "Have the workers journal their open connections",
            gives=CensusShown,
        ),
        Route(
            "GET", STREAM_PATH, stream, "A worker's stream, by an upgrade of HTTP",
            status=101, errors=(426,),
        ),
    ]  # fmt: skip


def _client(fields: Any) -> ClientRequest:
    match fields:
        case [
            str(request),
            str(route),
            float() | int() as at,
            float() | int() as seconds,
            str(outcome),
            int() | None as status,
            *rest,
        ] if client_id(request) and outcome in OUTCOMES and _is_answer(rest):
            return ClientRequest(request, route[:_MAX_ROUTE], at, seconds, outcome, status, *rest)
    raise ConfigurationError(
        "body.requests: expected lists of id, route, when, seconds, outcome, status and answer, "
        f"got {str(fields)[:100]}"
    )


def _is_answer(fields: list[Any]) -> bool:
    """Whether they are those of ``ClientRequest`` from ``target`` on, or the first ones of them."""
    match [*fields, *("", "", "", "", None)[len(fields) :]]:
        case [str(target), str(broken), str(odd), str(content), dict() | None as parts]:
            short = all(len(each) <= _MAX_TEXT for each in (target, broken, odd, content))
            return short and all(
                isinstance(value, str) and max(len(name), len(value)) <= _MAX_TEXT
                for name, value in (parts or {}).items()
            )
    return False
