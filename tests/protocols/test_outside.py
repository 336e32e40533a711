"""The protocol of docs/exchanges.md: through the shared rules, and from a package of its own."""

from __future__ import annotations

import socket
import socketserver
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from seism.errors import ConfigurationError
from seism.protocols.base import Codec
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.outside import PACKAGE, code, install
from tests.processes import ROOT, sidecar
from tests.protocols.conformance import Conformance, Sample
from tests.protocols.hostile import down, dripped, up
from tests.protocols.work import work
from tests.proxy.harness import read_exactly

SOURCE = code("exchanges.md", "class Lines")
ENTRY = code("exchanges.md", '[project.entry-points."seism.protocols"]')
_package: Any = sys.modules.setdefault(PACKAGE, types.ModuleType(PACKAGE))
exec(SOURCE, _package.__dict__)
Lines: type[Codec] = _package.Lines


def test_the_work_of_the_example_grows_with_its_input() -> None:
    for turns in (up(b"a" * 1000), up(b"a b\n" * 250), up(b"a\n" * 200) + down(b"a\n" * 200)):
        once = work(Lines(), dripped(turns))
        assert work(Lines(), dripped(turns + turns)) <= 2.2 * once


class TestLines(Conformance):
    codec = Lines
    samples = (
        Sample(
            "two at once",
            [
                (UPSTREAM, b"add 1 2\nsay hello\n"),
                (DOWNSTREAM, b"3\nhello\n"),
                (UPSTREAM, b"add 2 2\n"),
                (DOWNSTREAM, b"4\n"),
            ],
            ["add", "say", "add"],
        ),
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, as an installer would leave it."""
    folder = tmp_path_factory.mktemp("outside")
    install(folder, SOURCE, ENTRY)
    return folder


class _Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


def test_an_outside_package_brings_a_protocol(installed: Path, tmp_path: Path) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        upstream = f"127.0.0.1:{server.server_address[1]}"
        path = f"{installed}:{ROOT}"
        with sidecar(tmp_path / "journal.jsonl", PYTHONPATH=path) as control:
            made = control.call(
                "POST", "/proxies", {"name": "x", "upstream": upstream, "protocol": "lines"}
            )
            host, _, port = made["listen"].rpartition(":")
            control.add_toxic("x", {"type": "lines_busy", "exchange": {"kind": "b*", "nth": 2}})
            with socket.create_connection((host, int(port)), 10) as client:
                client.sendall(b"bee\nant\nboar\nbear\n")
                assert read_exactly(client, 18) == b"BEE\nANT\nBUSY\nBEAR\n"
            with pytest.raises(ConfigurationError, match="is of redis, and the proxy speaks lines"):
                control.add_toxic("x", {"type": "redis_busy"})
        server.shutdown()


def test_the_command_line_knows_it_too(installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seism", "toxic", "types", "lines_busy"],
        env={"PYTHONPATH": f"{installed}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "lines_busy: The server has no time." in done.stdout
