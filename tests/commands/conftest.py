"""``seism`` as real processes beside a real sidecar."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from seism.client import Client
from tests.processes import ROOT, sidecar


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def line(self) -> str:
        """The one line of a user's mistake, which ends with exit code 2."""
        assert (self.code, self.out) == (2, "")
        (line,) = self.err.splitlines()
        assert line.startswith("seism: ")
        return line.removeprefix("seism: ")


Run = Callable[..., Done]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with sidecar(tmp_path_factory.mktemp("commands") / "journal.jsonl") as control:
        yield Client(f"{control.host}:{control.port}", token="")


@pytest.fixture
def client(served: Client) -> Iterator[Client]:
    """The sidecar, without a proxy before the test and after it."""
    yield served
    for name in served.proxies():
        served.proxy(name).delete()


@pytest.fixture
def environment(client: Client) -> dict[str, str]:
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SEISM", "COLUMNS", "FORCE_COLOR", "NO_COLOR"))
    }
    return {**kept, "SEISM_SIDECAR": f"{client.host}:{client.port}", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def seism(environment: dict[str, str]) -> Run:
    def run(*arguments: str, **env: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "seism", *arguments],
            env={**environment, **env}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def rows(out: str) -> list[list[str]]:
    """The cells of a printed table, without its rule."""
    return [
        [cell.strip() for cell in line.split("   ") if cell.strip()]
        for line in out.splitlines()
        if line.strip() and not line.startswith("─")
    ]
