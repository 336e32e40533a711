"""A sidecar for tests, and experiments from within a test."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seism.client import Client
from seism.errors import ConfigurationError
from seism.experiment.config import Planned, load
from seism.experiment.runner import Run
from seism.experiment.session import Silent
from seism.experiment.supervisor import Supervisor
from seism.journal import Entry, read
from seism.options import build
from seism.verdict.result import Judgement
from seism_middleware.contract import TOKEN_VARIABLE

LEASE_SECONDS = 10.0


class Running(Client):
    """The client of a sidecar of our own; ``journal`` is its journal's file.

    What is perturbed through it is under a lease, and so is undone if the tests are killed.
    """

    def __init__(self, address: str, token: str, journal: Path) -> None:
        super().__init__(address, token=token)
        self.address = address
        """``host:port``, what the middleware wants in ``SEISM_SIDECAR``."""
        self.token = token
        """What it wants in ``SEISM_TOKEN``."""
        self.journal = journal
        self.lease(LEASE_SECONDS)

    def records(self, after: int = 0) -> list[Entry]:
        """What has been journalled so far with a higher number than ``after``."""
        # Census and phases wait for the disk; a census of no worker is the cheaper one.
        self.census()
        return [entry for entry in read(self.journal) if entry.seq > after]


@contextmanager
def sidecar(
    folder: Path, *, seed: int = 1, config: Path | None = None, journal: Path | None = None
) -> Iterator[Running]:
    """A sidecar on a free port; journal and log are in ``folder``. It has the proxies of ``config``
    (a ``seism.toml``), or none. ``journal``: where that goes instead.

    It ends with the block, and when this process is killed. Raises ConfigurationError if it
    does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    token = secrets.token_urlsafe(24)
    journal, log = journal or folder / "journal.jsonl", folder / "sidecar.log"
    configured = () if config is None else ("--calm", "--config", str(config))
    with Supervisor() as children:
        child = children.spawn(
            "sidecar",
            [
                *(sys.executable, "-m", "seism", "serve", "--port", "0"),
                *("--seed", str(seed), "--journal", str(journal), *configured),
            ],
            env={**os.environ, TOKEN_VARIABLE: token},
            pipes=True,
            log=log,
        )
        line = child.stdout.readline().decode(errors="replace").strip()
        if not line.startswith("http://"):
            raise ConfigurationError("\n".join(children.tail("sidecar")))
        with Running(line.removeprefix("http://"), token, journal) as client:
            yield client


def experiment(
    file: Path | str,
    perturbations: Iterable[Mapping[str, Any]] = (),
    *,
    folder: Path,
    seed: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> Judgement:
    """Run the experiment in ``file`` and judge it; journal and logs are in ``folder``.

    ``perturbations`` (as in ``[[perturbation]]``) are done in this order, instead of the
    file's; ``environ`` are further variables for the file and the app. Raises SeismError.
    """
    path = Path(file).resolve()
    environ = dict(environ or {})
    made = load(path, {**os.environ, **environ})
    planned = [build(Planned, dict(each), "perturbations") for each in perturbations]
    return Run(
        made, path, made.seed if seed is None else seed, folder, Silent(), environ,
        planned=planned or None,
    ).judge()  # fmt: skip
