"""The commented ``seism.toml`` that ``seism init`` writes from what it has found out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seism import registry
from seism.experiment import probe
from seism.experiment.discovery import Discovery, FoundBackend, FoundRoute
from seism.experiment.recording import Recording, lines
from seism.experiment.toml import string, value, write

MAX_LISTED = 40
"""Routes that are written as comments."""
MAX_ASKED = 8
"""Routes of the load: a run of the default plan takes a few minutes with them."""
PACE = ("during = 6", "timeout_s = 10")
"""The worst phase, in which nobody answers, takes a minute."""


def draft(found: Discovery, recording: Recording | None = None) -> str:
    """The text of the file, which ``seism check`` accepts; the load is that of ``recording``."""
    load = _load(found) if recording is None else _recorded(recording)
    headers = _headers(found) if recording is None else []
    parts = [
        _head(found),
        _app(found),
        *(_backend(each, found) for each in found.backends),
        headers,
        load,
    ]
    if found.allowed:
        parts.append(["[limits]", f"allow = {value(list(found.allowed))}"])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _head(found: Discovery) -> list[str]:
    lines = [
        "# Written by `seism init`. Read what it could not find out, marked by TO DO; then:",
        "#   seism check && seism run",
    ]
    if not found.backends:
        lines.append(
            "# TO DO: the app connected to no backend. Name each by a [[backend]] with name and "
            "upstream."
        )
    return lines


def _app(found: Discovery) -> list[str]:
    port = str(found.port)
    command = [_with_placeholder(word, port) for word in found.command]
    lines = ["[app]", f"command = {value(command)}"]
    if command == list(found.command):
        lines.append(f'url = "http://127.0.0.1:{port}"')
    if found.observed:
        lines += [f"# {text}" for text in found.observed]
        lines.append("inject = true")
    if not any(route.path == "/" and 0 < route.status < 500 for route in found.routes):
        good = next((route.path for route in found.routes if 0 < route.status < 500), "/")
        lines.append(f"ready = {string(good)}")
    if any(each.by_python or found.observed for each in found.backends):
        lines += [
            "# connects to the backends go to the proxies, wherever the app has their addresses",
            "redirect = true",
        ]
    if not found.observed:
        lines += [
            "", "# The app could not be observed from within: a proxy in front of it does that.",
            "[front]",
        ]  # fmt: skip
    return lines


def _with_placeholder(word: str, port: str) -> str:
    """``word`` with ``{port}`` in place of the app's port, where it can be nothing else."""
    if word == port:
        return "{port}"
    for before in (":", "="):
        if word.endswith(f"{before}{port}"):
            return word[: -len(port)] + "{port}"
    return word


def _backend(backend: FoundBackend, found: Discovery) -> list[str]:
    lines = ["[[backend]]", f"name = {string(backend.name)}"]
    lines.append(f"upstream = {string(backend.upstream)}")
    if backend.protocol in registry.load().protocols:
        lines.append(f"protocol = {string(backend.protocol)}")
    elif backend.protocol == probe.TLS:
        lines += [
            "# It speaks TLS. Either the app speaks plainly to the proxy, and the proxy TLS:",
            '#   upstream_tls = { ca = "ca.pem" }',
            "# or the app is told to trust a certificate of the proxy (SSL_CERT_FILE,",
            "# REQUESTS_CA_BUNDLE or the driver's option) as well:",
            '#   tls = { certificate = "proxy.pem", key = "proxy.key" }',
        ]
    else:
        known = ", ".join(sorted(registry.load().protocols))
        lines.append(f"# TO DO: its protocol is not known; one of: {known}")
    if backend.setting:
        lines.append(f"# Its address is in: {backend.setting}")
    elif not backend.by_python and not found.observed:
        lines += [
            "# TO DO: its address is in no setting that Seism can replace.",
            f"# Tell the app by [app.env]: SOME_VARIABLE = {string(f'{{{backend.name}.address}}')}",
        ]
    if not backend.answers:
        lines = [
            f"# The app tried {backend.upstream}; nobody answered.",
            *(f"# {line.removeprefix('# ')}" for line in lines),
        ]
    return lines


def _headers(found: Discovery) -> list[str]:
    return ["[setup]", f"headers = {value(found.headers)}"] if found.headers else []


def _load(found: Discovery) -> list[str]:
    good = [route for route in found.routes if route.method == "GET" and 0 < route.status < 300]
    # Where all that answers is a redirect, that is still a load.
    good = good or [each for each in found.routes if each.method == "GET" and 0 < each.status < 400]
    # Each backend is asked by a route of the load, if any of those that answer asks it.
    ranked = sorted(good, key=lambda each: not each.is_first)[:MAX_ASKED]
    asked = [each for each in good if each in ranked]
    more = [each for each in good if each not in ranked]
    lines = ["[load]", "workers = 4", *PACE]
    if not good:
        lines += ["", "# TO DO: no route answered well by itself.", *_route(FoundRoute("/"))]
    for route in asked:
        lines += ["", *_route(route)]
    rest = [route for route in found.routes if route not in good and (good or route.path != "/")]
    lines += _commented(more, "These answered, too; with each, a run takes longer:")
    lines += _commented(rest, "TO DO: these need a value, a body, a login or another method:")
    return lines


def _commented(routes: Sequence[FoundRoute], title: str) -> Iterator[str]:
    if not routes:
        return
    yield from ("", f"# {title}")
    for route in routes[:MAX_LISTED]:
        status = f"  # a GET answered {route.status}" if route.status else ""
        *lines, last = [f"# {line}" for line in _route(route)]
        yield from ("#", *lines, last + status)
    if len(routes) > MAX_LISTED:
        yield f"# and {len(routes) - MAX_LISTED} more"


def _recorded(recording: Recording) -> list[str]:
    tables = {"setup": recording.setup} if recording.setup else {}
    text = write(tables | {"load": {"workers": 4, **recording.load}})
    return [*lines(recording), text.rstrip()]


def _route(route: FoundRoute) -> Iterator[str]:
    yield "[[load.route]]"
    if route.method != "GET":
        yield f"method = {string(route.method)}"
    yield f"path = {string(route.path)}"
