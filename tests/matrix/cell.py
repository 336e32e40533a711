"""One cell of the matrix: a client, a model of concurrency, and what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trustme

from seism.client import Control
from seism_middleware.contract import SIDECAR_VARIABLE
from tests.matrix.backends import Servers
from tests.matrix.clients import ASYNC, BACKEND
from tests.ports import free_port
from tests.processes import process, settled, sidecar, wait_for
from tests.truth.measure import Perturbed, collect, connects, drive, outages

_GUNICORN = ("gunicorn", "--timeout", "60", "--keep-alive", "30", "--log-level", "warning")
_UVICORN = ("uvicorn", "--log-level", "warning")
_GRANIAN = ("granian", "--log-level", "warning", "--backlog", "256")

MODELS: dict[str, tuple[str, ...]] = {
    "threads": ("waitress", "--threads=40"),
    "gevent": (*_GUNICORN, "-k", "gevent"),
    "asyncio": (*_UVICORN, "--loop", "asyncio"),
    "uvloop": (*_UVICORN, "--loop", "uvloop"),
    "gunicorn sync x4": (*_GUNICORN, "-k", "sync", "-w", "4"),
    "gunicorn gthread x4": (*_GUNICORN, "-k", "gthread", "-w", "4", "--threads", "12"),
    "gunicorn gevent x4": (*_GUNICORN, "-k", "gevent", "-w", "4"),
    "gunicorn gthread x4 --preload": (
        *_GUNICORN, "-k", "gthread", "-w", "4", "--threads", "12", "--preload",
    ),
    "uvicorn x4": (*_UVICORN, "--loop", "uvloop", "--workers", "4"),
    "granian WSGI x4": (
        *_GRANIAN, "--interface", "wsgi", "--workers", "4", "--blocking-threads", "12",
    ),
    "granian ASGI x4": (*_GRANIAN, "--interface", "asgi", "--workers", "4"),
}  # fmt: skip
"""Model -> the server, without its address."""
PER_REQUEST = ", a connection per request"
"""Ends the name of such a model; the backend is away again and again, so that connects fail."""
MODELS |= {
    f"{model}{PER_REQUEST}": MODELS[model] for model in ("threads", "gevent", "asyncio", "uvloop")
}
ASYNCHRONOUS = (
    "asyncio",
    "uvloop",
    "uvicorn x4",
    "granian ASGI x4",
    f"asyncio{PER_REQUEST}",
    f"uvloop{PER_REQUEST}",
)
"""Here a client that blocks runs in ``asyncio.to_thread``."""


@dataclass(frozen=True)
class Outcome:
    """What a cell has shown."""

    client: str
    model: str
    perturbed: tuple[Perturbed, ...]
    nameless: int
    """Perturbations of bytes that name no request, such as those of a handshake."""
    statuses: dict[int, int]

    @property
    def fresh(self) -> bool:
        """Whether each request made a connection; each one that failed is a perturbation then."""
        return self.model.endswith(PER_REQUEST)

    @property
    def exact(self) -> int:
        """Perturbations attributed exactly to all that they hit."""
        return sum(item.truth <= _exact(item) for item in self.perturbed)

    @property
    def wrong(self) -> int:
        """Perturbations attributed exactly to a request that they did not hit."""
        return sum(bool(_exact(item) - item.truth) for item in self.perturbed)

    def mixed_up(self) -> Outcome:
        """The same where each id of the truth is another one's, to show that it would fail."""
        keys = sorted({key for item in self.perturbed for key in item.truth})
        half = len(keys) // 2
        renamed = dict(zip(keys, keys[half:] + keys[:half], strict=True))
        mixed = (
            Perturbed(frozenset(renamed[key] for key in item.truth), item.attributions)
            for item in self.perturbed
        )
        return replace(self, perturbed=tuple(mixed))

    @property
    def shuffled(self) -> int:
        """How many are wrong then."""
        return self.mixed_up().wrong

    @property
    def evidence(self) -> Counter[str]:
        """How the exact attributions are known."""
        return Counter(
            f"{attribution.evidence} {attribution.how}".strip()
            for item in self.perturbed
            for attribution in item.attributions
            if attribution.exact
        )


def _exact(item: Perturbed) -> set[str | None]:
    return {
        attribution.request
        for attribution in item.attributions
        if attribution.exact and attribution.role == "hit"
    }


def run(servers: Servers, client: str, model: str, requests: int, folder: Path) -> Outcome:
    """Drive one cell; ``folder`` is for its files."""
    folder.mkdir(parents=True)
    journal, taps = folder / "journal.jsonl", folder / "taps"
    taps.mkdir()
    backend = BACKEND[client]
    tapped = (sys.executable, "-m", "tests.truth.tap", servers.address(backend), str(taps))
    with process(*tapped, stdout=subprocess.PIPE) as tap, sidecar(journal) as control:
        assert tap.stdout is not None
        spec: dict[str, Any] = {
            "name": "backend", "upstream": f"127.0.0.1:{int(tap.stdout.readline())}",
        }  # fmt: skip
        env = {"CLIENT": client, "MATRIX_FRESH": "1" if model.endswith(PER_REQUEST) else ""}
        if backend == "https":
            spec["tls"] = {"certificate": str(_certificate(folder))}
            env["MATRIX_CA"] = str(folder / "ca.pem")
        if client.endswith("-pure") and client.startswith("psycopg"):
            env["PSYCOPG_IMPL"] = "python"
        env["BACKEND"] = control.call("POST", "/proxies", spec)["listen"]
        with served(model, client, control, env, folder / "app.log") as port:
            fresh = model.endswith(PER_REQUEST)
            if fresh:
                seen = outages(port, control, requests)
                statuses = Counter(status for status, _ in seen)
            else:
                statuses = drive(port, control, requests)
            settled(lambda: journal.stat().st_size)
            control.census()  # who answers has dealt with all that came before
    if fresh:
        answered = {key for status, key in seen if status == 200}
        failed = [key for status, key in seen if status == 502]
        return Outcome(client, model, tuple(connects(journal, failed, answered)), 0, dict(statuses))
    perturbed, nameless = collect(journal, taps)
    return Outcome(client, model, tuple(perturbed), nameless, dict(statuses))


@contextmanager
def served(
    model: str, client: str, control: Control, env: dict[str, str], log: Path
) -> Iterator[int]:
    """The port of the app under the server of ``model``."""
    port = free_port()
    server, *options = MODELS[model]
    address = {
        "waitress": [f"--listen=127.0.0.1:{port}"],
        "gunicorn": ["--bind", f"127.0.0.1:{port}"],
        "uvicorn": ["--port", str(port)],
        "granian": ["--port", str(port)],
    }[server]
    asynchronous = client in ASYNC or model in ASYNCHRONOUS
    name = "tests.matrix.app:" + ("async_app" if asynchronous else "app")
    env = {SIDECAR_VARIABLE: f"{control.host}:{control.port}", **env}
    with (
        log.open("wb") as output,
        process(
            *(sys.executable, "-m", server, *options, *address, name),
            env=env, stdout=output, stderr=output, cwd=os.getcwd(),
        ) as child,
    ):  # fmt: skip
        wait_for(port, child)
        yield port


def _certificate(folder: Path) -> Path:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(folder / "server.pem")
    )
    return folder / "server.pem"
