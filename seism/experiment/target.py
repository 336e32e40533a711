"""The tables of ``seism.toml`` that say what is perturbed: the app and its backends."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from seism.errors import ConfigurationError
from seism.model import (
    FRONT,
    LISTEN_HELP,
    PROTOCOL_HELP,
    REFUSED,
    REFUSED_HELP,
    TLS_HELP,
    UPSTREAM_HELP,
    UPSTREAM_TLS_HELP,
    ClientTls,
    FrontOptions,
    ProxySpec,
    ServerTls,
    ToxicSpec,
    address,
    show_address,
)
from seism.options import option

FRONT_PROTOCOL = "http"
"""What is spoken through the proxy in front of the app, so that HTTP's faults can be used."""


@dataclass(frozen=True, slots=True)
class App:
    """``[app]``: how the application is started and reached."""

    command: tuple[str, ...] = option(
        (), help="the program and its arguments; what follows -- on the command line goes first"
    )
    url: str = option("http://127.0.0.1:{port}", help="where it answers")
    ready: str = option("/", help="path that answers below 500 once the app is up")
    start_seconds: float = option(
        20, help="how long it may take to get ready", unit="s", minimum=0.1, maximum=3600
    )
    env: dict[str, str] = option({}, help="environment variables for it")
    cwd: str = option(".", help="the folder it runs in, relative to the file")
    rewrite: bool = option(
        True,
        help="replace the backends' addresses by their proxies' in its environment and in .ini "
        "files that its command names",
    )
    redirect: bool = option(
        False, help="send the connects of a Python app's pure-Python clients to the proxies"
    )
    inject: bool = option(
        False, help="observe a Python app through its environment, without a line in its code"
    )


@dataclass(frozen=True, slots=True)
class Worker:
    """``[[worker]]``: a further process of the application, such as a task queue's worker.

    It gets the environment of ``[app]``, and finds the proxies in the same way.
    """

    name: str = option(help="unique name")
    command: tuple[str, ...] = option(help="the program and its arguments")
    env: dict[str, str] = option({}, help="further environment variables for it")
    inject: bool | None = option(
        None, help="observe its jobs (Celery, RQ) without a line of code; default: app.inject"
    )
    wait_s: float = option(
        3,
        help="how long it is given to get ready before the load begins",
        unit="s",
        minimum=0,
        maximum=3600,
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", self.name):
            raise ConfigurationError(
                f"name: {self.name!r} is not allowed, up to 40 letters, digits, - and _ are"
            )
        if not self.command:
            raise ConfigurationError(f"worker {self.name!r}: command is needed")


@dataclass(frozen=True, slots=True)
class Backend:
    """``[[backend]]``: one server that the app depends on, behind its own proxy."""

    name: str = option(help="unique name")
    upstream: str = option(help=UPSTREAM_HELP)
    listen: str = option("127.0.0.1:0", help=LISTEN_HELP)
    enabled: bool = option(True, help="false: the backend is down from the start")
    toxic: tuple[ToxicSpec, ...] = option((), help="toxics that its proxy has from the start")
    tls: ServerTls | None = option(None, help=TLS_HELP)
    upstream_tls: ClientTls | None = option(None, help=UPSTREAM_TLS_HELP)
    refused: str = option("reset", help=REFUSED_HELP, choices=REFUSED)
    protocol: str = option("", help=PROTOCOL_HELP)

    def within(self, folder: Path) -> Backend:
        """The same with the paths of its PEM files taken from ``folder``."""

        def located(path: str) -> str:
            return str(folder / path) if path else ""

        tls, upstream_tls = self.tls, self.upstream_tls
        if tls is not None:
            tls = replace(tls, certificate=located(tls.certificate), key=located(tls.key))
        if upstream_tls is not None:
            upstream_tls = replace(upstream_tls, ca=located(upstream_tls.ca))
        return replace(self, tls=tls, upstream_tls=upstream_tls)

    def proxy(self) -> ProxySpec:
        """The proxy that stands before it."""
        return ProxySpec(
            self.name,
            self.upstream,
            self.listen,
            self.enabled,
            tls=self.tls,
            upstream_tls=self.upstream_tls,
            refused=self.refused,
            protocol=self.protocol,
        )


@dataclass(frozen=True, slots=True)
class Front(FrontOptions):
    """``[front]``: the app is observed by a proxy in front of it, instead of the middleware.

    Perturbations of the clients' side name ``front`` as their backend.
    """

    app: str = option("", help="where the app answers: http://host:port; default: [app].url")
    listen: str = option("127.0.0.1:0", help=LISTEN_HELP)
    toxic: tuple[ToxicSpec, ...] = option((), help="toxics that it has from the start")
    refused: str = option("reset", help=REFUSED_HELP, choices=REFUSED)

    def __post_init__(self) -> None:
        if self.app:
            url_address(self.app, "app")
        address(self.listen, "listen")

    def proxy(self, url: str) -> ProxySpec:
        """The proxy before the app at ``url``. Raises ConfigurationError."""
        if not url or "{" in url:
            raise ConfigurationError(f"{FRONT}: app is needed: where the app answers")
        upstream = show_address(*url_address(url, f"{FRONT}: app"))
        return ProxySpec(
            FRONT, upstream, self.listen, refused=self.refused, protocol=FRONT_PROTOCOL,
            front=FrontOptions(self.bad_gateway),
        )  # fmt: skip


def url_address(url: str, where: str) -> tuple[str, int]:
    """Host and port of an ``http://`` address. Raises ConfigurationError for anything else."""
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0]
    if not separator or scheme != "http" or not host or "@" in host:
        raise ConfigurationError(f"{where}: {url!r} is not allowed, http://host:port is expected")
    found = address(host if re.search(r":\d+$", host) else f"{host}:80", where)
    if not found[1]:
        raise ConfigurationError(f"{where}: {url!r} has no port")
    return found
