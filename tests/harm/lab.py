"""A small app on one backend under a real experiment: sidecar, app and load, then the verdict."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from seism.experiment.config import load
from seism.experiment.runner import Run
from seism.experiment.session import Silent
from seism.verdict.result import CROSSTALK, WRONG, HarmFinding, Judgement
from tests.conservation import nothing_is_lost
from tests.debian import unable
from tests.processes import ROOT

APPS = Path(__file__).parent
INSTALL_SECONDS = 100.0
WSGI = ("-m", "waitress", "--threads=8", "--listen=127.0.0.1:{port}")
LOAD = "workers = 4\nsteady = 20\nduring = 8\nafter = 12\npause_ms = 10"
UVICORN = ("-m", "uvicorn", "--port={port}", "--log-level=warning")
LOOPS = {loop: (*UVICORN, f"--loop={loop}") for loop in ("asyncio", "uvloop")}
"""The server of an ASGI app with each event loop."""
PAUSES = 'action = { count = "/done/{key}", retries = 0 }'
"""Of a route: the load stands still when a perturbation ends, as its actions are counted then."""
STREAMS = ("upstream", "downstream")
BY_LOOP = (*((stream, "asyncio") for stream in STREAMS), ("downstream", "uvloop"))
"""Stream and event loop; each run takes ten seconds."""


@dataclass(frozen=True)
class Lab:
    """``module`` of this folder is the app; it finds the backend at ``$BACKEND``."""

    module: str
    upstream: str
    perturbation: str
    """The ``[[perturbation]]``, without its backend, which is ``store``."""
    server: tuple[str, ...] = WSGI
    path: tuple[Path, ...] = ()
    """Folders with the packages of the app alone."""
    env: dict[str, str] = field(default_factory=dict)
    load: str = LOAD
    routes: tuple[str, ...] = ("/item/1", "/item/2", "/item/3", "/item/4")
    each: str = ""
    """Further keys of each route."""
    rules: str = ""
    protocol: str = ""
    """Of the backend."""
    worker: str = ""
    """The module of a ``[[worker]]``."""
    inject: bool = False
    """Whether the worker is observed without a line of its code."""

    def judge(self, folder: Path) -> Judgement:
        """One run, whose files are in ``folder``."""
        for module in filter(None, (self.module, self.worker)):
            shutil.copy(APPS / f"{module}.py", folder)
        file = folder / "seism.toml"
        file.write_text(self._config(), encoding="utf-8")
        path = os.pathsep.join(map(str, (folder, *self.path, ROOT)))
        environ = {
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TRUTH": str(folder / "truth"),
            **self.env,
        }
        judgement = Run(load(file), file, 7, folder / "run", Silent(), environ).judge()
        nothing_is_lost(folder / "run" / "journal.jsonl")
        return judgement

    def _config(self) -> str:
        command = [sys.executable, *self.server, f"{self.module}:app"]
        worker = f'[[worker]]\nname = "jobs"\ncommand = {[sys.executable, "-m", self.worker]}\n'
        worker += f"inject = {str(self.inject).lower()}\n"
        routes = "".join(f'[[load.route]]\npath = "{path}"\n{self.each}\n' for path in self.routes)
        return (
            f"[app]\ncommand = {command}\n"
            f'url = "http://127.0.0.1:{{port}}"\nenv = {{ BACKEND = "{{store.address}}" }}\n'
            f"{worker if self.worker else ''}"
            f'[[backend]]\nname = "store"\nupstream = "{self.upstream}"\n'
            f'protocol = "{self.protocol}"\n'
            f'[[perturbation]]\nbackend = "store"\n{self.perturbation}\n'
            f"[rules]\n{self.rules}\n[load]\n{self.load}\n{routes}"
        )


def wrong(folder: Path) -> set[str]:
    """The requests that the app itself saw get wrong data: it wrote their ids to ``$TRUTH``."""
    path = folder / "truth"
    return set(path.read_text(encoding="utf-8").split()) if path.exists() else set()


def accused(judgement: Judgement) -> set[str]:
    """The requests that are said to have got wrong data for certain."""
    cases = {case.request for case in judgement.cases if "wrong data" in case.reason}
    wrong_data = (
        harm for harm in judgement.harms if harm.kind in (CROSSTALK, WRONG) and harm.exact
    )
    return cases | {request for harm in wrong_data for request in harm.requests}


def named(judgement: Judgement, kind: str, exact: bool = True) -> list[HarmFinding]:
    """The harms of one kind that were found."""
    return [harm for harm in judgement.harms if harm.kind == kind and harm.exact == exact]


def blamed(judgement: Judgement) -> list[str]:
    """All that a healthy app must not hear of."""
    return [harm.what for harm in judgement.harms if harm.colour != "green"] + [
        *judgement.findings,
        *(f"{case.route} {case.reason}" for case in judgement.cases if case.colour == "red"),
    ]


def packages(folder: Path, *wanted: str) -> Path:
    """``wanted``, installed into ``folder`` for one app alone; the folder."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
               str(folder), *wanted]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        unable(f"not done within {INSTALL_SECONDS:g} s: pip install {' '.join(wanted)}")
    if done.returncode:
        unable(f"pip install {' '.join(wanted)}: {done.stderr.strip().splitlines()[-1]}")
    return folder
