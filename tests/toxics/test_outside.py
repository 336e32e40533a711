"""The toxic of docs/extending.md, from a package of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from seism.errors import ConfigurationError
from tests.outside import code, install
from tests.processes import ROOT, sidecar, until
from tests.proxy.harness import read_exactly


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """``PYTHONPATH`` with the package installed in it."""
    folder = tmp_path_factory.mktemp("outside")
    entry = code("extending.md", '[project.entry-points."seism.toxics"]')
    install(folder, code("extending.md", "class Zeros"), entry)
    return f"{folder}:{ROOT}"


def test_an_outside_package_brings_a_toxic(path: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        sidecar(journal, PYTHONPATH=path) as control,
    ):
        upstream = "{}:{}".format(*server.getsockname())
        made = control.call("POST", "/proxies", {"name": "x", "upstream": upstream})
        host, _, port = made["listen"].rpartition(":")
        control.add_toxic("x", {"type": "zeros", "stream": "upstream", "attributes": {"after": 3}})
        with socket.create_connection((host, int(port)), 10) as client:
            client.sendall(b"hello")
            with server.accept()[0] as backend:
                assert read_exactly(backend, 5) == b"hel\0\0"
                backend.sendall(b"hello")
                assert read_exactly(client, 5) == b"hello"
        with pytest.raises(ConfigurationError, match=r"after: -1 .* 0 to 1099511627776 B"):
            control.add_toxic("x", {"type": "zeros", "attributes": {"after": -1}})

        def begun() -> list[tuple[str, int]]:
            records = map(json.loads, journal.read_text().splitlines())
            return [
                (each["type"], each["offset"])
                for each in records
                if each["kind"] == "perturbation.began"
            ]

        until(begun)
        assert begun() == [("zeros", 3)]


def test_the_command_line_knows_it_too(path: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seism", "toxic", "types", "zeros"],
        env={"PYTHONPATH": path, "PATH": ""},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "zeros: Every byte after so many is zero" in done.stdout
    assert "how many bytes pass as they are" in done.stdout
