"""``seism init``: starts an application, asks it a few safe questions, and watches what it does."""

from __future__ import annotations

import http.client
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from seism.errors import ConfigurationError, NotReady
from seism.experiment import inject, probe, rewrite, safety
from seism.experiment.connections import SocketWatch
from seism.experiment.session import Watcher
from seism.experiment.supervisor import Child, Supervisor, find_command
from seism.model import show_address
from seism_middleware.contract import SIDECAR_VARIABLE, WATCH_VARIABLE

MAX_ROUTES = 100
ASK_SECONDS = 60.0
"""No further route is asked after this."""
TIMES = 2
"""Each is asked so often: a worker's first request may make the connections of later ones."""
LOOK_SECONDS = 0.001
"""Between two looks at the app's connections, while it works for a request."""
SETTLE_SECONDS = 0.3
REQUEST_SECONDS = 10.0
OPENAPI = "/openapi.json"
DESCRIBING = (OPENAPI, "/docs", "/docs/oauth2-redirect", "/redoc")
"""FastAPI's routes that describe the others, wherever it is mounted."""
_EXCEPTION = re.compile(r"(\w+\.)*\w*(Error|Exception|Exit)\b")
_CHANGES = re.compile(r"(?i)(log|sign)[-_]?(out|off)|delete|remove|destroy|unsubscribe|shutdown")
_URL = re.compile(r"\b\w+://(?:[^/@\s]*@)?([\w.\-]+|\[[\da-fA-F:]+\]):(\d{1,5})(?!\d)")
METHODS = ("get", "put", "post", "delete", "patch", "head")


@dataclass(frozen=True, slots=True, order=True)
class FoundRoute:
    """A route of the app; ``status`` is that of a GET, 0 if it was not asked or did not answer."""

    path: str
    method: str = "GET"
    status: int = 0
    is_first: bool = False
    """The app connected to a backend for the first time while it worked for it."""

    @property
    def is_safe(self) -> bool:
        """Whether it can be asked without a value and, as far as its name tells, a change."""
        plain = not set(self.path) & set("{*$()\\^|")
        return self.method == "GET" and plain and not _CHANGES.search(self.path)

    @property
    def depth(self) -> int:
        """Its segments. Short paths are asked first: no part of the app crowds out the others."""
        return len(self.path.strip("/").split("/"))


@dataclass(frozen=True, slots=True)
class FoundBackend:
    """A server that the app connected to."""

    name: str
    host: str
    port: int
    protocol: str
    """Empty if it is unknown, ``tls`` if it begins with TLS."""
    answers: bool = True
    by_python: bool = False
    """A client that ``redirect`` reaches connected to it."""
    setting: str = ""
    """Where its address was found, so that it is replaced there."""

    @property
    def upstream(self) -> str:
        return show_address(self.host, self.port)


@dataclass(slots=True)
class Discovery:
    """Everything that one look at an application has found."""

    command: tuple[str, ...]
    port: int = 0
    observed: list[str] = field(default_factory=list)
    """What the injected observer said."""
    backends: list[FoundBackend] = field(default_factory=list)
    routes: list[FoundRoute] = field(default_factory=list)
    allowed: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with each request; ``${NAME}`` in a value is from the environment."""


def discover(
    command: tuple[str, ...], cwd: Path, progress: Watcher, allowed: Sequence[str] = (),
    start_seconds: float = 60, headers: Mapping[str, str] = MappingProxyType({}),
    use: Callable[[int], None] = lambda _: None,
) -> Discovery:  # fmt: skip
    """Run ``command`` and find out. Nothing of it runs afterwards.

    ``headers`` are sent with each request; ``${NAME}`` in their values is from the environment.
    ``use`` uses the app, at its port, while its connections are watched.

    Raises NotReady if it does not answer, ConfigurationError for a command that cannot be found and
    for a backend that looks like production and is not ``allowed`` (by name or address).
    """
    sent = {name: _expanded(value, f"header {name}") for name, value in headers.items()}
    with tempfile.TemporaryDirectory(prefix="seism-init-") as folder, Supervisor() as children:
        watch = Path(folder, "watch")
        env = {**os.environ, SIDECAR_VARIABLE: "", WATCH_VARIABLE: str(watch)}
        inject.inject(env)
        file = find_command(command[0], cwd, env)
        try:
            inject.check(command, file, "the command")
        except ConfigurationError as error:
            progress.note(str(error))
        child = children.spawn("app", command, log=Path(folder, "log"), cwd=cwd, env=env)
        looking = _Looking(child, watch, set(allowed))
        found = Discovery(command, headers=dict(headers))
        progress.phase("starting the app")
        found.port = _wait(children, looking, start_seconds)
        with looking.running():
            progress.phase("asking the app")
            looking.refuse_production()
            found.routes = _ask_routes(found.port, watch, looking, sent)
            use(found.port)
            time.sleep(SETTLE_SECONDS)
        looking.named(command)
        looking.refuse_production()
        found.observed = inject.said(children.tail("app", 1000))
    progress.phase("asking its backends what they speak")
    found.backends = list(_backends(looking, command, cwd))
    found.allowed = tuple(each.name for each in found.backends
                          if looking.allows(each.host, each.port))  # fmt: skip
    return found


def _expanded(text: str, where: str) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigurationError(f"{where}: the environment has no {match[1]}")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", replacement, text)


class _Looking:
    """What the app connects to, by its sockets and by what its Python tells."""

    def __init__(self, child: Child, watch: Path, allowed: set[str]) -> None:
        self._sockets = SocketWatch(child.process.pid)
        self._lock = threading.Lock()
        self._watch = watch
        self._allowed = allowed
        self._stop = threading.Event()
        self.listening: set[int] = set()
        self.connected: set[tuple[str, int]] = set()
        self.tried: set[tuple[str, int]] = set()
        self.native: set[tuple[str, int]] = set()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        with self._lock:
            now = self._sockets.look()
            self.listening |= now.listening
            self.connected |= now.remote

    def told(self) -> None:
        """Take over what the app's Python has told of its connects."""
        for fact in facts(self._watch):
            ports = {fact.get("port"), fact.get("native")}
            if "host" in fact and not ports & self.listening:
                address = str(fact["host"]), int(fact["port"])
                (self.native if "native" in fact else self.tried).add(address)

    def named(self, command: Sequence[str]) -> None:
        """Take over the URLs of its command line: a thread may ask one of them much later."""
        with self._lock:
            self.tried |= {each for each in urls(command) if each[1] not in self.listening}

    def addresses(self) -> set[tuple[str, int]]:
        """All that the app has connected to, or tried to, as far as it has been looked at."""
        with self._lock:
            return {_canonical(each) for each in self.connected | self.tried | self.native}

    def allows(self, host: str, port: int) -> bool:
        return bool({host, show_address(host, port)} & self._allowed)

    def refuse_production(self) -> None:
        self.look()
        self.told()
        for host, port in sorted(self.connected | self.tried | self.native):
            upstream = show_address(host, port)
            reason = "" if self.allows(host, port) else safety.risk("", upstream)
            if reason:
                raise ConfigurationError(
                    f"the app connects to {upstream}: {reason}: point the app at a test backend, "
                    f"or allow it by --allow {upstream}"
                )


def urls(command: Sequence[str]) -> set[tuple[str, int]]:
    """Host and port of each URL in the words of ``command`` that has both."""
    found = (match for word in command for match in _URL.finditer(word))
    return {(match[1].strip("[]"), int(match[2])) for match in found}


def facts(watch: Path) -> list[dict[str, Any]]:
    """What the app's processes have told so far."""
    try:
        lines = watch.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _wait(children: Supervisor, looking: _Looking, seconds: float) -> int:
    """The port at which the app answers HTTP."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended = children.exited()
        if ended is not None:
            said = _last_words(children.tail("app", 200))
            raise NotReady(f"the app ended with exit code {ended[1]} before it was up: {said}")
        looking.look()
        for port in sorted(looking.listening):
            if get(port, "/", {})[0]:
                return port
        time.sleep(0.1)
    raise NotReady(
        f"the app did not answer HTTP at any port within {seconds:g} s; start it in the foreground"
    )


def _last_words(log: Sequence[str]) -> str:
    """The last line of ``log``, and the last one before it that names an exception.

    A server of several processes ends with "a worker failed to boot"; the reason is further up.
    """
    lines = [line for line in log if line.strip()]
    if not lines:
        return "it said nothing"
    errors = [line for line in lines[:-1] if _EXCEPTION.match(line)]
    return "; ".join((*errors[-1:], lines[-1]))


def get(port: int, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and body; (0, nothing) where there is no answer of HTTP."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_SECONDS)
    try:
        client.request("GET", path, headers={**headers, "Connection": "close"})
        response = client.getresponse()
        return response.status, response.read()
    except (http.client.HTTPException, OSError):
        return 0, b""
    finally:
        client.close()


def _ask_routes(
    port: int, watch: Path, looking: _Looking, headers: Mapping[str, str]
) -> list[FoundRoute]:
    told = {
        FoundRoute(fact["path"], "GET" if fact["method"] == "ANY" else fact["method"])
        for fact in facts(watch)
        if "path" in fact
    }
    described = openapi(get(port, OPENAPI, headers)[1])
    known = {FoundRoute("/"), *told, *(each for each in described if not _is_mounted(each, told))}
    found: list[FoundRoute] = []
    asked = 0
    end = time.monotonic() + ASK_SECONDS
    listed = (each for each in known if not each.path.endswith(DESCRIBING))
    for route in sorted(listed, key=lambda each: (each.depth, each)):
        if route.is_safe and asked < MAX_ROUTES and time.monotonic() < end:
            asked += 1
            before = looking.addresses()
            status = max(get(port, route.path, headers)[0] for _ in range(TIMES))
            looking.refuse_production()
            route = FoundRoute(route.path, route.method, status, looking.addresses() > before)
        found.append(route)
    return found


def _is_mounted(route: FoundRoute, told: Iterable[FoundRoute]) -> bool:
    """Whether the framework knows it below the path at which a part of the app is mounted."""
    return any(route.method == other.method and other.path.endswith(route.path) for other in told)


def openapi(text: bytes) -> Iterator[FoundRoute]:
    """The routes of an OpenAPI document; none of anything else."""
    try:
        paths = json.loads(text)["paths"]
        for path, methods in paths.items():
            for method in methods:
                if method in METHODS:
                    yield FoundRoute(str(path), method.upper())
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def _backends(looking: _Looking, command: Sequence[str], cwd: Path) -> Iterator[FoundBackend]:
    names: dict[str, int] = {}
    answering = {_canonical(each) for each in looking.connected | looking.native}
    by_python = {_canonical(each) for each in looking.tried}
    named = {_canonical(each) for each in urls(command)}
    for host, port in sorted(answering | by_python, key=lambda each: (each[1], each[0])):
        answer = probe.protocol(host, port)
        spoken = answer or probe.PORTS.get(port, "")
        kind = spoken or f"port{port}"
        names[kind] = names.get(kind, 0) + 1
        name = kind if names[kind] == 1 else f"{kind}-{names[kind]}"
        place = rewrite.Place(name, host, port, "127.0.0.1:1")
        yield FoundBackend(
            name,
            host,
            port,
            spoken,
            answers=(host, port) in answering or (bool(answer) and (host, port) in named),
            by_python=(host, port) in by_python,
            setting=_setting(place, command, cwd),
        )


def _canonical(address: tuple[str, int]) -> tuple[str, int]:
    host, port = address
    return ("127.0.0.1" if host.lower() in rewrite.LOOPBACK else host), port


def _setting(place: rewrite.Place, command: Sequence[str], cwd: Path) -> str:
    """Where ``seism run`` would replace its address."""
    rewriter = rewrite.Rewriter((place,))
    rewriter.settings(dict(os.environ), "environment")
    with tempfile.TemporaryDirectory() as folder:
        copies = rewrite.Copies(Path(folder), rewriter)
        for word in command:
            copies.word(word, cwd)
    return ", ".join(dict.fromkeys(done.where for done in rewriter.done))
