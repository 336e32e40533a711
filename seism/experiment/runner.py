"""Runs one experiment: sidecar, app and load as processes of their own, then the verdict.

The journal alone decides: the runner marks the phases in it, perturbs and undoes, and
has the journal judged. Between phases the load stands still for a moment, so that each
request belongs to one phase and a seed gives the same number of requests in each.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from seism.client import Control
from seism.errors import ConfigurationError, NotReady, SeismError, Unavailable
from seism.experiment.config import App, Experiment, Load, fill, toxic_of
from seism.experiment.plan import Step, make
from seism.experiment.supervisor import Child, Supervisor
from seism.harm import Pools
from seism.journal import read
from seism.judge import judge
from seism.model import DOWN, FRONT, address, unix_path
from seism.timeline import Segment, build
from seism.verdict import Judgement
from seism_middleware.contract import SIDECAR_VARIABLE, TOKEN_VARIABLE

SETTLE_SECONDS = 0.4
"""Time for the last links: an observer looks again for up to a quarter of a second."""
POOL_LOOK_SECONDS = 0.25
"""Between two looks at a pool that has not all of its connections yet."""
WARM_UP = 5
"""Requests per worker before the control run; they fill pools and are not judged."""


class Watcher(Protocol):
    """Who is told how far the run is."""

    def phase(self, text: str) -> None: ...

    def step(self, index: int, total: int, name: str, phase: str) -> None: ...

    def advance(self, done: int, of: int) -> None: ...


class SidecarGone(SeismError):
    """The sidecar died: what it did not journal is lost."""


@dataclass(slots=True)
class Run:
    """One run of ``experiment``, whose file is ``file``; reports go to ``directory``."""

    experiment: Experiment
    file: Path
    seed: int
    directory: Path
    progress: Watcher
    environ: dict[str, str] = field(default_factory=dict)
    """Further environment variables of the sidecar and the app."""
    _token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    _port: str = field(default_factory=lambda: str(_free_port()))
    """The app's, if it asks for one."""

    @property
    def journal(self) -> Path:
        return self.directory / "journal.jsonl"

    def judge(self) -> Judgement:
        """Run it all and judge it.

        Raises ConfigurationError before anything is perturbed if a part is missing,
        NotReady if the app does not come up, SidecarGone if the sidecar dies.
        """
        app, load = self._parts()
        self._check_upstreams()
        self._prepare_directory()
        with Supervisor() as children:
            control = self._start_sidecar(children)
            try:
                url = self._start_app(children, control, app)
                with self._loading(children, control, url, load) as driver:
                    self._experiment(control, driver, load)
            except Unavailable as error:
                self._explain(children, error)
            children.terminate("app")
            if children.terminate("sidecar"):
                raise SidecarGone(f"the sidecar did not end well: {_last(children, 'sidecar')}")
        return judge(read(self.journal))

    def _parts(self) -> tuple[App, Load]:
        if self.experiment.app is None:
            raise ConfigurationError(f"{self.file}: an [app] with a command and a url is needed")
        if self.experiment.load is None:
            raise ConfigurationError(f"{self.file}: a [[load.route]] is needed")
        if not self.experiment.backend and self.experiment.front is None:
            raise ConfigurationError(f"{self.file}: a [[backend]] is needed")
        return self.experiment.app, self.experiment.load

    def _prepare_directory(self) -> None:
        """Make the directory, without the logs of an earlier run: errors quote their last line."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for log in ("sidecar.log", "app.log", "load.log"):
                (self.directory / log).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{self.directory}: {error.strerror}") from None

    def _check_upstreams(self) -> None:
        for backend in self.experiment.backend:
            where = f"{self.file}: backend {backend.name!r}: upstream"
            try:
                _connect(*address(backend.upstream, where))
            except OSError as error:
                raise ConfigurationError(
                    f"{where}: nothing answers at {backend.upstream} ({error.strerror or error})"
                ) from None

    def _start_sidecar(self, children: Supervisor) -> Control:
        self.progress.phase("starting the sidecar")
        sidecar = children.spawn(
            "sidecar",
            [
                *(sys.executable, "-m", "seism"),
                *(self._front() or ("serve",)),
                *("--config", str(self.file)),
                *("--seed", str(self.seed), "--port", "0", "--journal", str(self.journal)),
            ],
            env={**os.environ, **self.environ, TOKEN_VARIABLE: self._token},
            pipes=True,
            log=self.directory / "sidecar.log",
        )
        line = _first_line(sidecar)
        if not line.startswith("http://"):
            said = _last(children, "sidecar")
            raise ConfigurationError(said.removeprefix("seism: "))
        host, port = address(line.removeprefix("http://"), "the sidecar")
        return Control(host, port, self._token)

    def _front(self) -> tuple[str, ...]:
        """The command of a sidecar with a proxy in front of the app, which is not up yet."""
        app, front = self.experiment.app, self.experiment.front
        if app is None or front is None:
            return ()
        url = front.app or fill(app.url, {"port": self._port}, f"{self.file}: app.url")
        return "front", "--app", url

    def _start_app(self, children: Supervisor, control: Control, app: App) -> str:
        self.progress.phase("starting the app")
        values = {"port": self._port}
        for name, proxy in control.proxies().items():
            values |= places(name, proxy["listen"])
        where = f"{self.file}: app"
        children.spawn(
            "app",
            [fill(word, values, f"{where}.command") for word in app.command],
            cwd=self.file.parent / app.cwd,
            env={
                **os.environ,
                **self.environ,
                **self._middleware(control),
                **{key: fill(text, values, f"{where}.env") for key, text in app.env.items()},
            },
            log=self.directory / "app.log",
        )
        url = fill(app.url, values, f"{where}.url").rstrip("/")
        self._wait_until_ready(children, url + app.ready, app.start_seconds)
        return url

    def _middleware(self, control: Control) -> dict[str, str]:
        """What has the middleware find the sidecar; with a front it is left alone."""
        if self.experiment.front is not None:
            return {SIDECAR_VARIABLE: ""}
        return {SIDECAR_VARIABLE: f"{control.host}:{control.port}", TOKEN_VARIABLE: self._token}

    def _wait_until_ready(self, children: Supervisor, url: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not _answers(url):
            said = f"{_last(children, 'app')} (all of it: {self.directory / 'app.log'})"
            match children.exited():
                case "app", code:
                    raise NotReady(f"the app ended with exit code {code} before it was up: {said}")
            if time.monotonic() > end:
                raise NotReady(f"the app did not answer at {url} within {seconds:g} s: {said}")
            time.sleep(0.05)

    @contextmanager
    def _loading(
        self, children: Supervisor, control: Control, url: str, load: Load
    ) -> Iterator[LoadDriver]:
        child = children.spawn(
            "load",
            [sys.executable, "-m", "seism.experiment.load"],
            pipes=True,
            log=self.directory / "load.log",
        )
        actions = any(route.action for route in load.route)
        driver = LoadDriver(child, self.progress, actions)
        driver.tell(
            {
                "url": self._through_front(control, url),
                "direct": url,
                "seed": self.seed,
                "workers": load.workers,
                "pause_ms": load.pause_ms,
                "timeout_s": load.timeout_s,
                "routes": [asdict(route) for route in load.route],
            }
        )
        yield driver
        children.terminate("load")

    def _through_front(self, control: Control, url: str) -> str:
        """Where clients find what is at ``url``."""
        if self.experiment.front is None:
            return url
        return urlsplit(url)._replace(netloc=control.proxies()[FRONT]["listen"]).geturl()

    def _experiment(self, control: Control, load: LoadDriver, counts: Load) -> None:
        steps = make(self.experiment, self.seed)
        self.progress.phase("control run: the steady state")
        control.phase("warmup")
        control.census()
        load.segment("warmup", WARM_UP)
        load.check("warmup")
        self._segment(control, load, "steady", None, "", counts.steady)
        if not judge(read(self.journal)).steady.met:
            return
        for step in steps:
            self._step(control, load, step, counts, len(steps))
        time.sleep(SETTLE_SECONDS)
        control.phase("end")

    def _step(
        self, control: Control, load: LoadDriver, step: Step, counts: Load, total: int
    ) -> None:
        name = step.planned.name
        self.progress.step(step.index + 1, total, name, "perturbed")
        control.phase("during", step.index, name)
        with _perturbed(control, step):
            driven = load.segment(f"{name}: during", counts.during)
            control.census()
        # Asked for after the perturbation, which could keep the app from answering.
        control.load_done(**driven, actions=load.check(name))
        self.progress.step(step.index + 1, total, name, "aftershock")
        self._segment(control, load, "after", step.index, name, counts.after)
        self._await_pools(control, step)

    def _await_pools(self, control: Control, step: Step) -> None:
        """Give pools that open connections by themselves the time to do so."""
        until = time.monotonic() + self.experiment.rules.pool_seconds
        while self._pool_waits(step) and time.monotonic() < until:
            time.sleep(POOL_LOOK_SECONDS)
            control.census()

    def _pool_waits(self, step: Step) -> bool:
        timeline = build(read(self.journal))
        after = timeline.find("after", step.index)
        if after is None:
            return False
        before = timeline.find("after", step.index - 1) or timeline.find("steady")
        planned = {"name": step.planned.name, "backend": step.planned.backend}
        return bool(
            Pools(timeline, planned, before or after, Segment(after.phase), after).missing()
        )

    def _segment(
        self,
        control: Control,
        load: LoadDriver,
        phase: str,
        step: int | None,
        name: str,
        requests: int,
    ) -> None:
        control.phase(phase, step, name)
        driven = load.segment(f"{name}: {phase}" if name else phase, requests)
        control.load_done(**driven, actions=load.check(phase))
        control.census()

    def _explain(self, children: Supervisor, error: Unavailable) -> None:
        """Say which process is to blame for a call that found nobody."""
        match children.exited():
            case "sidecar", code:
                raise SidecarGone(
                    f"the sidecar ended with exit code {code}, what it did not journal is lost: "
                    f"{_last(children, 'sidecar')}"
                ) from None
        raise SidecarGone(str(error)) from None


class LoadDriver:
    """Tells the load generator what to send and hears what came of it.

    ``actions``: some of what it sends is to be done once.
    """

    def __init__(self, child: Child, progress: Watcher, actions: bool) -> None:
        self._actions = actions
        self._stdin: IO[bytes] = child.stdin
        self._stdout: IO[bytes] = child.stdout
        self._progress = progress

    def tell(self, values: dict[str, Any]) -> None:
        try:
            self._stdin.write(json.dumps(values).encode() + b"\n")
            self._stdin.flush()
        except OSError:
            raise SeismError("the load generator is gone") from None

    def segment(self, name: str, requests: int) -> dict[str, Any]:
        """Have each worker send ``requests``; the totals, as the journal takes them."""
        return self._ask({"segment": name, "requests": requests})

    def check(self, name: str) -> dict[str, Any] | None:
        """How often the actions since the last check were done; None where there are none."""
        actions: dict[str, Any] | None = None
        if self._actions:
            actions = self._ask({"check": name})["actions"]
        return actions

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        self.tell(order)
        for line in self._stdout:
            answer: dict[str, Any] = json.loads(line)
            if "progress" in answer:
                self._progress.advance(answer["progress"], answer["of"])
            else:
                return answer
        raise SeismError("the load generator is gone")


@contextmanager
def _perturbed(control: Control, step: Step) -> Iterator[None]:
    """The perturbation lasts as long as the block does, whatever happens in it."""
    proxy = step.planned.backend
    if step.planned.type == DOWN:
        control.enable(proxy, False)
    else:
        control.add_toxic(proxy, asdict(toxic_of(step.planned)))
    try:
        yield
    finally:
        if step.planned.type == DOWN:
            control.enable(proxy, True)
        else:
            control.remove_toxic(proxy, step.toxic)


def _last(children: Supervisor, name: str) -> str:
    """The last thing that a child said."""
    lines = [line for line in children.tail(name) if line.strip()]
    return lines[-1] if lines else "it said nothing"


def places(name: str, listen: str) -> dict[str, str]:
    """The placeholders of the backend ``name`` whose proxy listens at ``listen``."""
    host, port = address(listen, name)
    if unix_path(host):
        return {f"{name}.address": listen, f"{name}.path": unix_path(host)}
    return {f"{name}.address": listen, f"{name}.host": host, f"{name}.port": str(port)}


def _connect(host: str, port: int) -> None:
    """Raises OSError if nobody listens there."""
    if not unix_path(host):
        socket.create_connection((host, port), timeout=5).close()
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        probe.connect(unix_path(host))


def _first_line(child: Child) -> str:
    return child.stdout.readline().decode(errors="replace").strip()


def _answers(url: str) -> bool:
    # The app is here: a proxy that the environment names has no part in it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status < 500)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except (OSError, ValueError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
