"""The doctor: why perturbations of an app cannot reach it, or cannot be attributed to its requests.

``examine`` sends a few requests on a session and looks at the app's processes meanwhile;
``findings`` says what that means, and what to do about it.
"""

from __future__ import annotations

import socket
import statistics
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from seism.experiment.processes import AppProcess, Processes
from seism.experiment.session import Session
from seism.experiment.tcp_sockets import Address
from seism.model import address, show_address, unix_path
from seism.verdict.client_view import observations, took
from seism.verdict.result import listed
from seism.verdict.steady_state import NO_ROUTE
from seism.verdict.timeline import Segment, build
from seism_middleware.contract import Hello, RequestEnded

REQUESTS = 10
"""Of each worker of the load; Locust's clients send for half as many seconds."""
LOOK_SECONDS = 0.02
"""Between two looks at the processes: shorter-lived connections are seen by chance."""
WAITED_SECONDS = 0.02
"""Time before the observer, in the median, that is worth a word if it is most of a request's."""
INSTALL = "set inject = true in [app], or wrap the application with seism_middleware, outermost"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class BackendSeen:
    """What arrived at the proxy of a backend."""

    name: str
    upstream: str
    proxy: str
    connections: int = 0
    """Since the proxy listens."""
    received: int = 0
    """Bytes of clients, since then."""
    lately: int = 0
    """Bytes of them while the doctor's requests ran."""
    at: frozenset[Address] = frozenset()
    """The addresses that the backend's name stands for; empty for a Unix socket."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What the doctor has seen."""

    backends: Sequence[BackendSeen]
    processes: Sequence[AppProcess]
    workers: Sequence[Hello]
    """Those that run now."""
    sent: int
    requests: Sequence[RequestEnded]
    """Those of the doctor, as far as they were observed."""
    clock: str = ""
    """The sidecar's clock domain."""
    version: str = ""
    """The middleware's that is installed beside Seism."""
    tried: Sequence[str] = ()
    """What Seism did so that the app finds the proxies."""
    front: bool = False
    port: int = 0
    """The control API's, to which workers connect."""
    proxies: frozenset[Address] = field(default_factory=frozenset)
    refused: Sequence[str] = ()
    """``GET /nope: 404``: routes of which every answer says that there is none."""


def examine(session: Session) -> list[Finding]:
    """Send a few requests, and say what is wrong, then what is right."""
    processes, over = Processes(session.app_pid), threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            processes.look()

    watcher = threading.Thread(target=watch, name="seism doctor", daemon=True)
    session.phase("warmup")
    session.control.census()
    watcher.start()
    try:
        amount = REQUESTS / 2 if session.load.locust else REQUESTS
        session.send("warmup", amount)
    finally:
        over.set()
        watcher.join()
    processes.look()
    processes.look_inside()
    session.control.census()
    return findings(_examination(session, list(processes)))


def _examination(session: Session, processes: Sequence[AppProcess]) -> Examination:
    timeline = build(session.entries())
    segment = timeline.segments[-1]
    seen = observations(segment.requests)
    load = segment.load.requests if segment.load else 0
    proxies = session.control.proxies()
    listens = {name: shown["listen"] for name, shown in proxies.items()}
    return Examination(
        backends=[
            _backend(backend.name, backend.upstream, listens[backend.name], segment)
            for backend in session.experiment.backend
            if backend.name in listens
        ],
        processes=processes,
        workers=[worker for worker in timeline.workers if worker.worker not in timeline.left],
        sent=load or len(segment.requests),
        requests=seen,
        clock=timeline.manifest.clock,
        version=version("seism-middleware"),
        tried=tuple(session.tried),
        front=session.experiment.front is not None,
        port=session.control.port,
        refused=_refused(segment),
        proxies=frozenset(each for listen in listens.values() for each in _addresses(listen)),
    )


def _refused(segment: Segment) -> list[str]:
    """The routes of the load that the app does not have, with the status."""
    found = {
        name: figures["statuses"]
        for name, figures in (segment.load.routes if segment.load else {}).items()
    }
    return [
        f"{name}: {status}"
        for name, statuses in found.items()
        for status in statuses
        if len(statuses) == 1 and int(status) in NO_ROUTE
    ]


def _backend(name: str, upstream: str, listen: str, segment: Segment) -> BackendSeen:
    counts = [reached.proxies.get(name, {}) for reached in segment.reached] or [{}]
    first, last = counts[0], counts[-1]
    received = last.get("bytes", 0)
    return BackendSeen(
        name,
        upstream,
        listen,
        last.get("connections", 0),
        received,
        received - first.get("bytes", 0),
        frozenset(_addresses(upstream)),
    )


def _addresses(text: str) -> Iterator[Address]:
    host, port = address(text, text)
    if unix_path(host):
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return
    yield from {(str(info[4][0]), port) for info in found}


def findings(seen: Examination) -> list[Finding]:
    """All findings, those first that need a remedy."""
    found = [
        *_observer(seen),
        *_outside(seen),
        *(line for backend in seen.backends for line in _reached(backend, seen)),
        *_elsewhere(seen),
        *_blind(seen),
        *_apart(seen),
        *_queued(seen),
    ]
    return sorted(found, key=lambda finding: finding.ok)


def _observer(seen: Examination) -> Iterator[Finding]:
    """Whether the observer is loaded, and sees the requests."""
    share = f"{len(seen.requests)} of {seen.sent} requests"
    if seen.front:
        yield Finding(len(seen.requests) >= seen.sent, f"front: it saw {share}")
        return
    if seen.workers:
        pids = listed(list(dict.fromkeys(str(worker.pid) for worker in seen.workers)))
        kinds = "/".join(sorted({worker.interface for worker in seen.workers}))
        if len(seen.requests) >= seen.sent:
            yield Finding(True, f"observer: loaded in {pids} ({kinds}), saw {share}")
        else:
            yield Finding(
                False,
                f"observer: loaded in {pids} ({kinds}), saw only {share}: the others are answered "
                f"outside it; {INSTALL}, in each process that serves",
            )
        return
    untold = [process for process in seen.processes if process.told is False]
    if untold and len(untold) == len(seen.processes):
        yield Finding(
            False,
            f"observer: SEISM_SIDECAR is not in the environment of {_names(untold)}: let whatever "
            "starts the app pass on SEISM_SIDECAR and SEISM_TOKEN",
        )
    else:
        yield Finding(
            False,
            f"observer: no process of the app has loaded it ({_names(seen.processes)}): {INSTALL}, "
            "or put a [front] into seism.toml if the app is not Python",
        )


def _outside(seen: Examination) -> Iterator[Finding]:
    """Processes that talk to backends while other processes have the observer."""
    pids = {worker.pid for worker in seen.workers}
    for process in seen.processes if pids else ():
        used = [
            backend.name
            for backend in seen.backends
            if _goes_to(process, backend.at) or _goes_to(process, _addresses(backend.proxy))
        ]
        if used and process.pid not in pids:
            yield Finding(
                False,
                f"observer: {process} talks to {', '.join(used)} and has not loaded it: nothing "
                "that it sends is attributed; load it there too, if that process serves requests",
            )


def _reached(backend: BackendSeen, seen: Examination) -> Iterator[Finding]:
    """What arrived at a backend's proxy, and what went past it."""
    where = f"{backend.name}: proxy {backend.proxy}"
    past = [process for process in seen.processes if _goes_to(process, backend.at)]
    arrived = f"{_count(backend.connections, 'connection')}, {_count(backend.received, 'byte')}"
    if past:
        yield Finding(
            False,
            f"{where}: {_names(past)} connects to {backend.upstream} directly, past the proxy "
            f"({arrived} arrived); {_tried(backend, seen)}",
        )
    elif not backend.received and seen.refused:
        yield Finding(
            False,
            f"{where}: nothing arrived; {listed(seen.refused)}: does the app have that route, and "
            "take that method?",
        )
    elif not backend.received:
        yield Finding(
            False,
            f"{where}: nothing arrived, and no connection to {backend.upstream} was seen; "
            f"add a [[load.route]] that needs {backend.name}, or: {_tried(backend, seen)}",
        )
    elif backend.lately and not seen.front and seen.workers and not _followed(backend, seen):
        loaded = sorted({name for process in seen.processes for name in process.libraries})
        clients = f" (loaded: {', '.join(loaded)})" if loaded else ""
        yield Finding(
            False,
            f"{where}: {_count(backend.lately, 'byte')} arrived, and no request is known to have "
            f"sent any{clients}: no driver follows that client, or another thread sends for the "
            "requests; seism sweep attributes these by its own probes (evidence alone)",
        )
    else:
        followed = _followed(backend, seen)
        also = f", {followed} of {len(seen.requests)} requests used it" if followed else ""
        yield Finding(True, f"{where}: {arrived} arrived{also}")


def _tried(backend: BackendSeen, seen: Examination) -> str:
    """How the app was pointed at the proxy, and what else there is to do."""
    own = [line for line in seen.tried if backend.proxy in line]
    done = (
        f"tried: {listed(own)}" if own else f"{backend.upstream} is in no setting that Seism sees"
    )
    # A long list of what was tried never hides the remedy: reports cut a text at its end.
    return (
        f"put {{{backend.name}.address}} where the app reads the address ([app] env or "
        "command), or use --redirect (Python's sockets and the usual drivers in C); "
        f"{done}"
    )


def _elsewhere(seen: Examination) -> Iterator[Finding]:
    """Other servers that the app talks to."""
    known = seen.proxies.union(*(backend.at for backend in seen.backends))
    own = {port for process in seen.processes for port in process.listens} | {seen.port}
    others = sorted(
        {
            show_address(*remote)
            for process in seen.processes
            for local, remote in process.connections
            if remote not in known and remote[1] not in own and local[1] not in own
        }
    )
    if others:
        yield Finding(
            False,
            f"the app connects to {listed(others)}, which no [[backend]] has: declare it if it is "
            "a backend",
        )


def _blind(seen: Examination) -> Iterator[Finding]:
    """What a worker says that it cannot follow."""
    for what in sorted({what for worker in seen.workers for what in worker.blind}):
        if what == "socket":
            yield Finding(
                False,
                "observer: nothing is patched, so that nothing is attributed: set patch to all",
            )
        else:
            yield Finding(False, f"observer: perturbations cannot be attributed through {what}")


def _apart(seen: Examination) -> Iterator[Finding]:
    """Clocks and versions that differ."""
    for worker in seen.workers if not seen.front else ():
        if worker.clock.domain != seen.clock:
            yield Finding(
                False,
                f"clock: worker {worker.worker} has another one than the sidecar (another host or "
                "time namespace): its times are approximate; run both on one host",
            )
        if worker.version != seen.version:
            yield Finding(
                False,
                f"version: worker {worker.worker} has seism-middleware "
                f"{worker.version or 'of an older version'}, Seism expects {seen.version}: install "
                "that version for the app",
            )


def _queued(seen: Examination) -> Iterator[Finding]:
    """Whether requests wait before the observer sees them."""
    if seen.front or not seen.requests:
        return
    waited = [max(0.0, took(request) - _observed(request)) for request in seen.requests]
    typical = statistics.median(waited)
    if typical > WAITED_SECONDS and typical > statistics.median(map(took, seen.requests)) / 2:
        yield Finding(
            False,
            f"observer: requests wait {typical * 1000:.0f} ms, in the median, before it sees them: "
            f"a queue is outside it; {INSTALL}, or give the server more threads",
        )


def _observed(request: RequestEnded) -> float:
    inner = getattr(request, "observed", None)
    return float((inner or request).duration)


def _followed(backend: BackendSeen, seen: Examination) -> int:
    """Requests that are known to have sent something to ``backend``."""
    return sum(any(s.backend == backend.name for s in each.sends) for each in seen.requests)


def _goes_to(process: AppProcess, where: Iterable[Address]) -> bool:
    remotes = {remote for _, remote in process.connections}
    return not remotes.isdisjoint(where)


def _names(processes: Iterable[AppProcess]) -> str:
    return listed([str(process) for process in processes]) or "no process is left"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
