"""Refuses to perturb a backend in production, unless its name is given, or one that is not there.

A run repeats, loses and doubles writes. A backend is refused if it is neither on loopback nor in a
private network, or if a name says that it is in production.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Container, Iterable, Iterator

from seism.errors import ConfigurationError
from seism.experiment.request import Load
from seism.experiment.target import Backend
from seism.model import address, unix_path

MANAGED = (
    "amazonaws.com", "azure.com", "azure.net", "windows.net", "googleapis.com", "supabase.co",
    "supabase.com", "neon.tech", "mongodb.net", "ondigitalocean.com", "aivencloud.com",
)  # fmt: skip
"""Domains of managed services, whose names may stand for private addresses."""

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing (RFC 9110, 9.2.1)."""
MAX_NAMED = 10
"""Routes that are named before a run."""

_PRODUCTION = re.compile(r"(?i)(?<![a-z])(?:prod|prd|production|live)(?![a-z])")


def refuse(
    backends: Iterable[Backend], allowed: Container[str], where: str, option: str = "--allow"
) -> None:
    """Raises ConfigurationError for a backend that may not be perturbed.

    ``option``: the command-line option that permits one.
    """
    for backend in backends:
        reason = "" if backend.name in allowed else risk(backend.name, backend.upstream)
        if reason:
            raise ConfigurationError(
                f"{where}: backend {backend.name!r}: {reason}; writes will be repeated, lost and "
                f"doubled: use a test backend, or allow it by {option} {backend.name} or "
                f'limits.allow = ["{backend.name}"]'
            )


def reach(backends: Iterable[Backend], where: str) -> None:
    """Raises ConfigurationError for a backend at whose address nobody answers."""
    for backend in backends:
        place = f"{where}: backend {backend.name!r}: upstream"
        try:
            _connect(*address(backend.upstream, place))
        except OSError as error:
            raise ConfigurationError(
                f"{place}: nothing answers at {backend.upstream} ({error.strerror or error})"
            ) from None


def risk(name: str, upstream: str) -> str:
    """Why the backend must not be perturbed unasked; empty if nothing speaks against it."""
    host, port = address(upstream, name)
    if unix_path(host):
        return ""
    for text in (name, host):
        if _PRODUCTION.search(text):
            return f"{text} looks like production"
    managed = next((each for each in MANAGED if f".{host.lower()}".endswith(f".{each}")), "")
    if managed:
        return f"{host} is a managed service of {managed}"
    public = next((each for each in _addresses(host, port) if not _is_private(each)), "")
    if public:
        return f"{upstream} is neither on loopback nor in a private network"
    return ""


def announce(backends: Iterable[Backend], load: Load) -> Iterator[str]:
    """What will be done to what, in one line each."""
    for backend in backends:
        yield f"{backend.name} ({backend.upstream}) will be made slow, broken and unreachable"
    writing = [
        request.name for request in load.requests if request.method not in SAFE
    ]  # fmt: skip
    if writing:
        yield f"these requests are sent many times, and may be lost or repeated: {_list(writing)}"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _connect(host: str, port: int) -> None:
    """Raises OSError if nobody listens there."""
    if not unix_path(host):
        socket.create_connection((host, port), timeout=5).close()
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        probe.connect(unix_path(host))


def _addresses(host: str, port: int) -> list[str]:
    """What ``host`` stands for here and now; empty if for nothing, which nobody can perturb."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(info[4][0]) for info in found]


def _is_private(text: str) -> bool:
    found = ipaddress.ip_address(text.partition("%")[0])
    return found.is_private or found.is_loopback or found.is_link_local
