"""What an experiment runs on: sidecar, app and load, as processes of their own."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from seism.client import Control
from seism.errors import ConfigurationError, NotReady, SeismError, Unavailable
from seism.experiment import inject, rewrite, safety
from seism.experiment.aftershock import Aftershock, Calm, client_request
from seism.experiment.config import (
    REQUESTS,
    App,
    Experiment,
    Load,
    Planned,
    fill,
    placeholders,
    substitute,
)
from seism.experiment.driver import LoadDriver
from seism.experiment.limit import Guarded
from seism.experiment.locust import FILE_VARIABLE, STOP_SECONDS, LocustDriver, clients_file
from seism.experiment.locust import command as locust_command
from seism.experiment.perturbation import begin, undo
from seism.experiment.plan import Step
from seism.experiment.request import Setup, requests
from seism.experiment.setup import LOG as SETUP_LOG
from seism.experiment.setup import Commands, direct_environment
from seism.experiment.supervisor import Supervisor, find_command, last_lines
from seism.experiment.target import Worker
from seism.journal import Entry, Follower, Held, Phase, hold
from seism.model import FRONT, address
from seism.options import build
from seism.toxics.impatient import Impatient
from seism.verdict.consumer import missing
from seism.verdict.timeline import build as timeline_of
from seism_middleware.contract import (
    SIDECAR_VARIABLE,
    TOKEN_VARIABLE,
    Hello,
)

LOGS = ("sidecar.log", "app.log", "load.log", SETUP_LOG)
BLAME_SECONDS = 1.0
"""How long an end of the sidecar may take to be noticed."""
LEASE_SECONDS = 10.0
"""What the runner has perturbed is undone this long after its last sign of life."""
HELLO_SECONDS = 10.0
"""How long a worker that has answered may take to tell the sidecar of itself."""
ALL_FAILED = 5
"""More requests of each route than this, which all failed, are an app that answers nothing well."""
POOL_LOOK_SECONDS = 0.25
"""Between two looks at a pool, or at consumers, that have not all of their connections yet."""


class Watcher(Protocol):
    """Who is told how far the run is."""

    def phase(self, text: str) -> None: ...

    def step(self, index: int, total: int, name: str, phase: str) -> None: ...

    def advance(self, done: int, of: int) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """A watcher who tells nobody."""

    def phase(self, text: str) -> None: ...

    def step(self, index: int, total: int, name: str, phase: str) -> None: ...

    def advance(self, done: int, of: int) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _StartedApp:
    """The app's process, which may not answer yet."""

    url: str
    injected: bool
    hellos: int
    """How many workers had told of themselves before."""


class SidecarGone(SeismError):
    """The sidecar died: what it did not journal is lost."""


class Session:
    """A context manager: all is up within it, and nothing is left of it afterwards.

    Raises ConfigurationError if a part is missing, NotReady if the app does not come up,
    SidecarGone if the sidecar dies.
    """

    def __init__(
        self,
        experiment: Experiment,
        file: Path,
        seed: int,
        directory: Path,
        progress: Watcher,
        environ: dict[str, str] | None = None,
        command: tuple[str, ...] = (),
        redirect: bool = False,
        allow: tuple[str, ...] = (),
    ) -> None:
        """``file`` is the experiment's, ``environ`` further environment variables of sidecar
        and app; ``command`` and ``redirect`` go before what ``[app]`` says, ``allow`` (names of
        backends) is added to what ``[limits]`` says.
        """
        self.experiment = experiment
        self.progress = progress
        self._file = file
        self._seed = seed
        self._directory = directory
        self._environ = environ or {}
        self._token = secrets.token_urlsafe(24)
        self._salt = secrets.token_hex(8)
        self._app, self.load = _parts(experiment, file, command)
        self._redirect = redirect or self._app.redirect
        self._allowed = {*allow, *experiment.limits.allow}
        self._follower = Follower(self.journal)
        self._children = Supervisor()
        self._commands = Commands(
            experiment.setup or Setup(),
            self._children,
            directory / SETUP_LOG,
            file.parent / self._app.cwd,
            direct_environment(experiment, self._app, self._environ, str(file)),
            str(file),
        )
        self._workers = Supervisor()
        """``[[worker]]``."""
        self._workers_ended: set[str] = set()
        """Those whose end has been told."""
        self._private = Path(tempfile.gettempdir()) / f"seism-{secrets.token_hex(8)}"
        """For copies of the app's settings; there as long as the sidecar is."""
        self._folder = -1
        """The directory's descriptor, while no other run may write there."""
        self._driver: LoadDriver | LocustDriver | None = None
        self._clients: list[list[Any]] = []
        """What the load's clients saw, and is not journalled yet."""
        self._calm = Calm()
        self._aftershock: Aftershock | None = None
        """The one that goes on, or was the last."""
        self._phase = ""
        self._values: dict[str, str] = {}
        """The placeholders of the app that runs."""
        self._port = str(free_port())
        """The app's, if it asks for one and something stands in front of it."""
        self._step = -1
        """The planned perturbation whose time or aftershock it is, -1 before the first."""
        self._ended = False
        """The app has ended by itself, which has been told."""
        self._outlasting: list[Planned] = []
        """What is to be undone after the aftershock."""
        self.started_in_s = 0.0
        """How long the last start took, with all backends there."""
        self._cold: _StartedApp | None = None
        """The one that was started while a backend was away."""
        self._leave: dict[str, float] = {}
        """What has the load's clients leave, see ``LoadDriver.segment``."""
        self.tried: list[str] = []
        """What was done so that the app finds the proxies, one line each."""
        self.control: Control
        self.guarded = Guarded(experiment.limits)

    @property
    def journal(self) -> Path:
        return self._directory / "journal.jsonl"

    @property
    def app_pid(self) -> int:
        """All of the app's processes are below this one."""
        return self._children.pid("app")

    def entries(self) -> Sequence[Entry]:
        """What the journal has so far; each line is parsed once."""
        return self._follower.entries()

    def __enter__(self) -> Session:
        try:
            safety.refuse(self.experiment.backend, self._allowed, str(self._file))
            safety.reach(self.experiment.backend, str(self._file))
            for line in safety.announce(self.experiment.backend, self.load):
                self.progress.note(line)
            self._prepare_directory()
            if self._commands.setup.before:
                self.progress.phase("setup: the commands before the run")
            self._commands.before()
            self.control = self._start_sidecar()
            self.control.lease(LEASE_SECONDS)
            self.start_app()
            self.guarded = Guarded(self.experiment.limits)
        except Unavailable as error:
            self.close()
            self.explain(error)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything; repeatable."""
        if hasattr(self, "control"):
            self.control.close()
        self._workers.close()
        self._children.close()
        for problem in self._commands.after():
            self.progress.note(problem)
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def end_load(self) -> None:
        """Send nothing more, not even what a segment has left."""
        self._children.terminate("load")

    def finish(self) -> None:
        """End everything in order, so that the journal is complete."""
        self._children.terminate("load")
        if isinstance(self._driver, LocustDriver):
            self._clients += self._driver.clients()
        self._journal_clients()
        if isinstance(self._driver, LocustDriver):
            self.control.load_done(**self._driver.totals(), whole=True)
        self._workers.close()
        self._children.terminate("app")
        self.control.release()
        if self._children.terminate("sidecar"):
            raise SidecarGone(f"the sidecar did not end well: {self._last('sidecar')}")

    def explain(self, error: Unavailable) -> None:
        """Say which process is to blame for a call that found nobody."""
        # Its connections end before it is known to have ended.
        until = time.monotonic() + BLAME_SECONDS
        while time.monotonic() < until:
            match self._children.exited():
                case "sidecar", code:
                    raise SidecarGone(
                        f"the sidecar ended with exit code {code}, what it did not journal is "
                        f"lost: {self._last('sidecar')}"
                    ) from None
            time.sleep(0.02)
        raise SidecarGone(str(error)) from None

    def start_app(self) -> None:
        """Start the app and the load, after ending those that run."""
        self.end_app()
        self.progress.phase("starting the app")
        began = time.monotonic()
        started = self._spawn_app(self._app)
        self._wait_until_ready(started.url + self._app.ready, self._app.start_seconds)
        self.started_in_s = time.monotonic() - began
        self._start_workers()
        self._await_workers()
        self._start_clients(started)

    def end_app(self) -> None:
        """End the app, its workers and the load, if they run."""
        if self._driver is not None:
            self._children.terminate("load")
            self._workers.close()
            self._children.terminate("app")

    def start_app_cold(self, seconds: float) -> bool:
        """Start the app, which ``end_app`` has ended, and its workers; whether it answers within
        ``seconds``, with any status, and the load has been started, too.
        """
        self._cold = self._spawn_app(self._app)
        self._start_workers()
        return self._answers_cold(seconds)

    def await_cold_app(self) -> bool:
        """Whether an app that did not answer in its time does so at all, as above."""
        return self._answers_cold(self._app.start_seconds)

    def _answers_cold(self, seconds: float) -> bool:
        started, end = self._cold, time.monotonic() + seconds
        assert started is not None
        while not _answers(started.url + self._app.ready, well=False):
            self._look_at_app()
            if self._ended or time.monotonic() > end:
                return False
            time.sleep(0.05)
        self._start_clients(started)
        return True

    def _start_clients(self, started: _StartedApp) -> None:
        """What needs an app that answers."""
        if started.injected:
            self._wait_until_observed(started.hellos)
        self._driver = self._start_load(started.url)

    def phase(
        self, phase: str, step: int | None = None, name: str = "", active: Sequence[int] = (),
        *, flowing: bool = False,
    ) -> None:  # fmt: skip
        """Mark in the journal where a phase begins. ``flowing``: the load goes on meanwhile."""
        assert self._driver is not None
        self._step = step if step is not None else max(active, default=self._step)
        self._phase = phase
        self.control.phase(
            phase, step, name, active=active, flowing=flowing or self._driver.flowing
        )

    def send(
        self, name: str, amount: float, route: int | None = None, unit: str = REQUESTS
    ) -> dict[str, Any]:
        """Each worker sends so many requests of all routes, or sends for so many seconds; or
        one worker sends those of ``route`` alone. Locust sends for so many seconds.

        What came of it is journalled, too; empty where it is not known before the end.
        """
        driven = self.drive(name, amount, route, unit)
        self._check_logins(driven)
        self.settle(driven)
        return driven

    def _check_logins(self, driven: dict[str, Any]) -> None:
        """Raises NotReady if the load cannot log in before anything is perturbed."""
        logins = driven.get("logins") or {}
        if self._phase != "warmup" or self._step >= 0 or not logins:
            return
        where = f"{self._file}: setup.login"
        for problem in logins["failed"]:
            raise NotReady(f"{where}: {problem}: expected a login that works")
        if sum(logins["again"].values()) * 2 >= driven["requests"]:
            because = max(logins["again"], key=logins["again"].__getitem__)
            raise NotReady(
                f"{where}: the app does not take the login: {because} after it; do the routes "
                "send what it gave (setup.headers, cookies)?"
            )

    def drive(
        self, name: str, amount: float, route: int | None = None, unit: str = REQUESTS,
        least_s: float = 0, *, together: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """The same, and nothing is journalled; it lasts ``least_s`` seconds at least. ``together``:
        each worker sends so many of ``route``.
        """
        assert self._driver is not None
        if isinstance(self._driver, LoadDriver):
            driven = self._driver.segment(
                name, amount, route, unit, least_s, leave=self._leave, together=together
            )
        else:
            driven = self._driver.segment(name, amount, route, unit, least_s)
        self._look_at_app()
        return driven

    @property
    def flows(self) -> bool:
        """Whether the load can go on from one phase into the next.

        Actions are counted by phase, and Locust's requests by time.
        """
        actions = any(route.action for route in self.load.route)
        return isinstance(self._driver, LoadDriver) and self.load.request_ids and not actions

    def flow(self, name: str, amount: int, after: int, least_s: float) -> None:
        """Send for a phase, as ``drive`` does, and go on after it, until ``flow_on``."""
        assert isinstance(self._driver, LoadDriver)
        self._driver.flow(name, amount, after, least_s, self._leave)
        self._look_at_app()

    def flow_on(self, name: str) -> dict[str, Any]:
        """The same as ``aftershock``, in the stream that ``flow`` began; its phase has begun."""
        assert isinstance(self._driver, LoadDriver)
        names = [each.name for each in self.load.requests]
        this = self._aftershock = Aftershock(self._calm, self.experiment.rules, names)
        phases = (e.record for e in reversed(self.entries()) if isinstance(e.record, Phase))
        both = self._driver.go_on(name, next(phases).at, lambda: self._ended or this.is_over())
        self._undo_outlasting()
        for driven in both:
            self.settle(driven)
        return both[1]

    def aftershock(
        self, name: str, amount: float, route: int | None = None, *, together: bool = False
    ) -> dict[str, Any]:
        """As ``send``, until each route is as before, or has had its time, or the app has ended."""
        assert self._driver is not None
        sent = self.load.requests
        asked = sent if route is None else (sent[route],)
        names = [each.name for each in asked]
        this = self._aftershock = Aftershock(self._calm, self.experiment.rules, names)

        def enough() -> bool:
            return self._ended or this.is_over()

        asks = enough if self.load.request_ids else None
        if isinstance(self._driver, LoadDriver):
            driven = self._driver.segment(name, amount, route, enough=asks, together=together)
        else:
            driven = self._driver.segment(name, amount, route, enough=asks)
        self._undo_outlasting()
        self.settle(driven)
        return driven

    @property
    def broken(self) -> list[str]:
        """The routes of the load that were not as before when the last aftershock ended, as far as
        its clients tell.
        """
        if self._aftershock is None or not self.load.request_ids or self.load.locust is not None:
            return []
        return self._aftershock.broken()

    def _saw(self, rows: Iterable[list[Any]]) -> None:
        """Take what the load's clients saw."""
        for row in rows:
            self._clients.append(row)
            if self._phase == "steady":
                self._calm.add(client_request(row))
            elif self._aftershock is not None:
                self._aftershock.add(client_request(row))

    def settle(self, driven: dict[str, Any]) -> None:
        """Journal what came of ``driven``, and how often its actions were done.

        The app is asked for that, which a perturbation could keep from answering.
        """
        assert self._driver is not None
        self._journal_clients()
        if driven:
            self.control.load_done(**driven, actions=self._driver.check(driven["segment"]))
            self.guarded.add(driven)

    def app_is_gone(
        self, step: int, driven: dict[str, Any] | None = None, *, silent: bool = False
    ) -> bool:
        """Whether the app has ended, or failed on all that was ``driven`` on all routes after
        ``step``, and had the time to recover; it is journalled. ``silent``: it does not answer.
        """
        match self._children.exited():
            case "app", code:
                self._step = step
                self._notice_end(code)
                return True
        failed = driven and all(
            failures({"routes": {"": route}}).total() == route["count"] > ALL_FAILED
            for route in driven["routes"].values()
        )
        if silent or failed:
            self.control.app_ended(step, None, self._last_lines("app"))
            return True
        return False

    def _notice_end(self, code: int) -> None:
        """Say once, and journal, that the app has ended by itself with exit ``code``."""
        if self._ended:
            return
        self._ended = True
        self.progress.note(f"the app has ended with exit code {code}")
        self.control.app_ended(self._step, code, self._last_lines("app"))

    def _look_at_workers(self) -> None:
        """Journal each worker that has ended by itself. Raises NotReady before a perturbation."""
        for name, code in self._workers.ended().items():
            if name in self._workers_ended:
                continue
            said = self._workers.tail(name)
            if self._step < 0:
                raise NotReady(
                    f"the worker {name} ended with exit code {code} before anything was perturbed: "
                    f"{said[-1] if said else 'it said nothing'}"
                )
            self._workers_ended.add(name)
            self.progress.note(f"the worker {name} has ended with exit code {code}")
            self.control.app_ended(self._step, code, last_lines(said), name)

    def await_consumers(self, step: int) -> bool:
        """Give consumers the time to come back after ``step``; whether one has not."""
        until = time.monotonic() + self.experiment.rules.background_recover_s
        while missing(timeline_of(self.entries()), step):
            if time.monotonic() > until or self.has_ended():
                return True
            time.sleep(POOL_LOOK_SECONDS)
            self.control.census()
        return False

    def has_ended(self) -> bool:
        """Whether the app's process has, or that of a worker."""
        self._look_at_workers()
        if self._workers_ended:
            return True
        match self._children.exited():
            case "app", _:
                return True
        return False

    def _last_lines(self, name: str) -> list[str]:
        return last_lines(self._children.tail(name))

    def _journal_clients(self) -> None:
        if self._clients:
            self.control.clients(self._clients)
            self._clients.clear()

    def route(self, step: Step) -> int | None:
        """The index of the route that ``step`` is about alone; None: it is about all."""
        names = [request.name for request in self.load.requests]
        return names.index(step.planned.route) if step.planned.exact else None

    @contextmanager
    def perturbed(self, step: Step) -> Iterator[None]:
        """The perturbation lasts as long as the block does, whatever happens in it; one of
        established connections lasts until the next aftershock is over.
        """
        with self._perturbed(step.planned):
            if step.partner is None:
                yield
                return
            with self._perturbed(step.partner):
                yield

    @contextmanager
    def _perturbed(self, planned: Planned) -> Iterator[None]:
        self.begin(planned)
        try:
            yield
        finally:
            if planned.established:
                self._outlasting.append(planned)
            else:
                self.undo(planned)

    def _undo_outlasting(self) -> None:
        while self._outlasting:
            self.undo(self._outlasting.pop())

    def begin(self, planned: Planned) -> None:
        """Perturb, until ``undo``; the lease would undo it, too."""
        self.guarded.perturbing()
        begin(self.control, planned)
        if planned.type == Impatient.type:
            toxic = build(Impatient, planned.attributes, planned.name)
            self._leave = {"share": toxic.share / 100, "within": toxic.delay / 1000}

    def end_parked(self, backend: str) -> None:
        """End the connections to ``backend`` that pools hold."""
        parked = Planned("parked", backend, "restart")
        self.begin(parked)
        self.undo(parked)

    def undo(self, planned: Planned) -> None:
        """Perturb no more."""
        if planned.type == Impatient.type:
            self._leave = {}
        undo(self.control, planned)

    def _prepare_directory(self) -> None:
        """Make the directory, without what an earlier run wrote: errors quote a log's last line."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            hold(self._folder)
            for log in (*LOGS, *map(_worker_log, self.experiment.worker), self.journal.name):
                (self._directory / log).unlink(missing_ok=True)
        except Held as holder:
            raise ConfigurationError(
                f"{self._directory}: another run ({holder}) writes there; wait for its end, or "
                "choose another --report-dir"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{self._directory}: {error.strerror}") from None

    def _start_sidecar(self) -> Control:
        self.progress.phase("starting the sidecar")
        sidecar = self._children.spawn(
            "sidecar",
            [
                *(sys.executable, "-m", "seism", *(self._front() or ("serve",)), "--calm"),
                *("--config", str(self._file)),
                *("--seed", str(self._seed), "--port", "0", "--journal", str(self.journal)),
            ],
            env={**os.environ, **self._environ, TOKEN_VARIABLE: self._token},
            pipes=True,
            log=self._directory / "sidecar.log",
            scratch=self._private,
        )
        line = sidecar.stdout.readline().decode(errors="replace").strip()
        if not line.startswith("http://"):
            code = self._children.terminate("sidecar")
            if code < 0:
                raise SidecarGone(f"the sidecar was ended by signal {-code} before it was up")
            raise ConfigurationError(self._last("sidecar").removeprefix("seism: "))
        host, port = address(line.removeprefix("http://"), "the sidecar")
        return Control(host, port, self._token)

    def _front(self) -> tuple[str, ...]:
        """The command of a sidecar with a proxy in front of the app, which is not up yet."""
        front = self.experiment.front
        if front is None:
            return ()
        where = f"{self._file}: app.url"
        return "front", "--app", front.app or fill(self._app.url, {"port": self._port}, where)

    def _middleware(self) -> dict[str, str]:
        """What has the middleware find the sidecar; with a front it is left alone."""
        if self.experiment.front is not None:
            return {SIDECAR_VARIABLE: ""}
        return {
            SIDECAR_VARIABLE: f"{self.control.host}:{self.control.port}",
            TOKEN_VARIABLE: self._token,
        }

    def _through_front(self, url: str) -> str:
        """Where clients find what is at ``url``."""
        if self.experiment.front is None:
            return url
        return urlsplit(url)._replace(netloc=self.control.proxies()[FRONT]["listen"]).geturl()

    def _spawn_app(self, app: App) -> _StartedApp:
        self._ended = False
        port = self._port if self.experiment.front is not None else str(free_port())
        self._values = {"port": port}
        for name, shown in self.control.proxies().items():
            self._values |= placeholders(name, shown["listen"])
        where = f"{self._file}: app"
        cwd = self._file.parent / app.cwd
        command, env = self._prepared(app.command, app.env, where)
        injected = app.inject and self.experiment.front is None
        if injected:
            inject.check(command, find_command(command[0], cwd, env), f"{where}.command")
            inject.inject(env)
        hellos = self._hellos()
        self._children.spawn(
            "app",
            command,
            cwd=cwd,
            env={**env, **self._middleware()},
            log=self._directory / "app.log",
        )
        url = fill(app.url, self._values, f"{where}.url").rstrip("/")
        return _StartedApp(url, injected, hellos)

    def _start_workers(self) -> None:
        """Start the app's workers."""
        self._workers = Supervisor()
        self._workers_ended.clear()
        for worker in self.experiment.worker:
            self.progress.phase(f"starting the worker {worker.name}")
            where = f"{self._file}: worker {worker.name!r}"
            command, env = self._prepared(worker.command, {**self._app.env, **worker.env}, where)
            if self._app.inject if worker.inject is None else worker.inject:
                inject.inject(env)
            self._workers.spawn(
                worker.name,
                command,
                cwd=self._file.parent / self._app.cwd,
                env={**env, **self._middleware()},
                log=self._directory / _worker_log(worker),
            )

    def _await_workers(self) -> None:
        """Give them their time to get ready."""
        until = time.monotonic() + max((each.wait_s for each in self.experiment.worker), default=0)
        while time.monotonic() < until:
            self._look_at_workers()
            time.sleep(0.05)

    def _prepared(
        self, words: Sequence[str], own: Mapping[str, str], where: str
    ) -> tuple[list[str], dict[str, str]]:
        """The command and the environment with which a process of the app finds the proxies."""
        app = self._app
        proxies = {name: shown["listen"] for name, shown in self.control.proxies().items()}
        cwd = self._file.parent / app.cwd
        command = [fill(word, self._values, f"{where}.command") for word in words]
        env = {key: fill(text, self._values, f"{where}.env") for key, text in own.items()}
        env = {**os.environ, **self._environ, **env}
        upstreams = {
            backend.name: backend.upstream for backend in self.experiment.backend
            if backend.name in proxies
        }  # fmt: skip
        there = rewrite.places(upstreams, proxies)
        if app.rewrite:
            command = self._rewritten(there, command, env, cwd)
        if self._redirect:
            self._redirected(there, env)
        return command, env

    def _hellos(self) -> int:
        """How many workers have told of themselves so far."""
        return sum(isinstance(entry.record, Hello) for entry in self.entries())

    def _wait_until_observed(self, before: int) -> None:
        """The app has answered a request: a worker must be known that ``before`` was not."""
        end = time.monotonic() + HELLO_SECONDS
        while self._hellos() == before:
            if time.monotonic() > end:
                raise NotReady(
                    f"{self._file}: app.inject: the app answers and is not observed"
                    f"{inject.told(self._app_log())}: wrap the app by one line, or use [front]"
                )
            time.sleep(0.05)
        for line in inject.said(self._app_log()):
            self.progress.note(line)

    def _app_log(self) -> Iterator[str]:
        return self._children.log("app")

    def _rewritten(
        self, there: tuple[rewrite.Place, ...], command: list[str], env: dict[str, str], cwd: Path
    ) -> list[str]:
        rewriter = rewrite.Rewriter(there)
        rewriter.settings(env, "environment")
        copies = rewrite.Copies(Path(tempfile.mkdtemp(dir=self._private)), rewriter)
        command = [copies.word(word, cwd) for word in command]
        for done in rewriter.done:
            self._tried(str(done))
        return command

    def _redirected(self, there: tuple[rewrite.Place, ...], env: dict[str, str]) -> None:
        """``--redirect``: Python imports our ``sitecustomize`` before the app."""
        where = inject.redirect(env, there)
        for proxy in dict.fromkeys(where.values()):
            names = ", ".join(sorted(name for name in where if where[name] == proxy))
            self._tried(f"connects to {names} go to {proxy}")

    def _tried(self, text: str) -> None:
        self.progress.note(text)
        if text not in self.tried:
            self.tried.append(text)

    def _wait_until_ready(self, url: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not _answers(url):
            said = f"{self._last('app')} (all of it: {self._directory / 'app.log'})"
            match self._children.exited():
                case "app", code:
                    raise NotReady(f"the app ended with exit code {code} before it was up: {said}")
            if time.monotonic() > end:
                raise NotReady(f"the app did not answer at {url} within {seconds:g} s: {said}")
            time.sleep(0.05)

    def _start_load(self, url: str) -> LoadDriver | LocustDriver:
        if self.load.locust is not None:
            return self._start_locust(url)
        child = self._children.spawn(
            "load",
            [sys.executable, "-m", "seism.experiment.load"],
            pipes=True,
            log=self._directory / "load.log",
        )
        actions = any(route.action for route in self.load.route)
        driver = LoadDriver(child, self.progress.advance, self._check, self._saw, actions)
        setup = self.experiment.setup
        driver.tell(
            {
                **self._with_secrets(requests(self.load, setup, self._file.parent)),
                "url": self._through_front(url),
                "direct": url,
                "seed": self._seed,
                "workers": self.load.workers,
                "pause_ms": self.load.pause_ms,
                "rate": self.load.rate,
                "timeout_s": self.load.timeout_s,
                "request_ids": self.load.request_ids,
                "salt": self._salt,
            }
        )
        return driver

    def _with_secrets(self, value: Any) -> Any:
        """``value`` with variables of the environment in it; only the load's process has these."""
        return substitute(value, {**os.environ, **self._environ}, str(self._file))

    def _start_locust(self, url: str) -> LocustDriver:
        options = self.load.locust
        assert options is not None
        self.progress.phase("starting Locust")
        seen = clients_file(self._directory)
        seen.unlink(missing_ok=True)
        child = self._children.spawn(
            "load",
            locust_command(
                options,
                self._directory,
                self._through_front(url),
                request_ids=self.load.request_ids,
            ),
            env={**os.environ, FILE_VARIABLE: str(seen)},
            cwd=self._file.parent,
            log=self._directory / "load.log",
            grace_s=2 * STOP_SECONDS,
        )
        driver = LocustDriver(options, self._directory, child, self._children, self._check)
        driver.wait_until_spawned()
        return driver

    def _check(self, requests: int = 0, failed: int = 0) -> None:
        """Asked again and again while the load is sent."""
        self._look_at_app()
        self.guarded.check(requests, failed)

    def _look_at_app(self) -> None:
        self._look_at_workers()
        match self._children.exited():
            case "app", code if self._step >= 0:
                self._notice_end(code)

    def _last(self, name: str) -> str:
        """The last thing that a child said."""
        lines = [line for line in self._children.tail(name) if line.strip()]
        return lines[-1] if lines else "it said nothing"


def _worker_log(worker: Worker) -> str:
    return f"worker-{worker.name}.log"


def failures(driven: dict[str, Any]) -> Counter[str]:
    """What went wrong of what was ``driven``: by status, or without a whole response."""
    found: Counter[str] = Counter()
    for route in driven["routes"].values():
        found["no response"] += route["no_response"] + route["truncated"]
        for status, count in route["statuses"].items():
            if status.startswith("5"):
                found[status] += count
    return +found


def _parts(experiment: Experiment, file: Path, command: tuple[str, ...]) -> tuple[App, Load]:
    app = experiment.app or (App() if command else None)
    if command and app is not None:
        app = replace(app, command=command)
    if app is None or not app.command:
        raise ConfigurationError(
            f"{file}: an [app] with a command is needed, or seism run -- COMMAND"
        )
    if experiment.load is None:
        raise ConfigurationError(f"{file}: a [[load.route]] is needed, or [load.locust]")
    if not experiment.backend and experiment.front is None:
        raise ConfigurationError(f"{file}: a [[backend]] is needed")
    return app, experiment.load


def _answers(url: str, *, well: bool = True) -> bool:
    """``well``: with a status below 500."""
    # The app is here: a proxy that the environment names has no part in it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status < 500)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500 or not well
    except (OSError, ValueError):
        return False


def free_port() -> int:
    """A port of loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
