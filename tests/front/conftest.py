"""``seism front`` as a process of its own before a real Node server."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seism.client import Control
from seism.journal import read
from seism_middleware.contract import Attribution, RequestBegun, RequestEnded
from tests.debian import INSTALL, unable
from tests.ports import free_port
from tests.processes import process, until, wait_for

WIRE = Path(__file__).parent / "wire.js"
PATIENCE = 20.0


@dataclass
class Front:
    """The front at ``address``, its sidecar's control API, and its journal."""

    address: tuple[str, int]
    control: Control
    journal: Path
    pid: int
    _seen: int = field(default=0)

    def records(self, *kinds: type[Any]) -> list[Any]:
        """What the journal has by now, of these kinds."""
        self.control.call("POST", "/seism/census", {})  # answered when the journal is on the disk
        return [entry.record for entry in read(self.journal) if isinstance(entry.record, kinds)]

    def skip(self) -> None:
        """Forget the requests so far."""
        self._seen = len(self.records(RequestEnded))

    def ended(self, count: int = 1) -> list[RequestEnded]:
        """The next ``count`` observations, when they are there, and no more of them."""
        until(lambda: len(self.records(RequestEnded)) >= self._seen + count)
        found = self.records(RequestEnded)[self._seen :]
        self._seen += len(found)
        assert len(found) == count
        return found

    def begun(self) -> list[RequestBegun]:
        return self.records(RequestBegun)

    def attributions(self) -> list[Attribution]:
        return self.records(Attribution)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE)

    @contextlib.contextmanager
    def client(self) -> Iterator[http.client.HTTPConnection]:
        with contextlib.closing(http.client.HTTPConnection(*self.address, PATIENCE)) as client:
            yield client


Start = Callable[..., contextlib.AbstractContextManager[Front]]


@contextlib.contextmanager
def front(folder: Path, app: str, *options: str) -> Iterator[Front]:
    """A real ``seism front`` before ``app``, on free ports."""
    journal = folder / "journal.jsonl"
    command = ["front", "--app", app, "--port", "0", "--journal", str(journal), *options]
    with (folder / "front.log").open("wb") as log, process(
        sys.executable, "-m", "seism", *command, stdout=subprocess.PIPE, stderr=log
    ) as child:  # fmt: skip
        assert child.stdout is not None
        places = []
        for _ in range(2):
            line = child.stdout.readline().decode().strip()
            assert line.startswith("http://"), (folder / "front.log").read_text()
            host, _, port = line.removeprefix("http://").rpartition(":")
            places.append((host, int(port)))
        yield Front(places[1], Control(*places[0]), journal, child.pid)


@contextlib.contextmanager
def node(script: Path, **env: str) -> Iterator[int]:
    """``script`` under Node, on the port that is given."""
    if shutil.which("node") is None:
        unable(f"node is missing: {' '.join((*INSTALL, 'nodejs'))}")
    port = free_port()
    with process("node", str(script), str(port), env={**os.environ, **env}) as child:
        wait_for(port, child)
        yield port


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The front of ``wire.js``."""
    with (
        node(WIRE) as port,
        front(tmp_path_factory.mktemp("front"), f"http://127.0.0.1:{port}") as running,
    ):
        yield running
