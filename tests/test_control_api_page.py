"""The examples of docs/control-api.md, run in their order against a real ``seism serve``."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT, sidecar

PAGE = ROOT / "docs" / "control-api.md"


def blocks(text: str) -> list[str]:
    """The shell blocks of a page."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_there_are_examples() -> None:
    found = blocks(PAGE.read_text(encoding="utf-8"))
    assert len(found) > 8
    assert all("curl " in block for block in found)


@pytest.mark.debian("curl")
def test_every_example_works(tmp_path: Path) -> None:
    with (
        sidecar(tmp_path / "journal.jsonl") as control,
        socket.create_server(("127.0.0.1", 0)) as backend,
    ):
        environment = {
            **os.environ,
            "SEISM": f"http://{control.host}:{control.port}",
            "SEISM_TOKEN": "not asked for on loopback",
            "BACKEND": "{}:{}".format(*backend.getsockname()),
            "no_proxy": "127.0.0.1",
        }
        for block in blocks(PAGE.read_text(encoding="utf-8")):
            done = subprocess.run(
                # Not pipefail: the event stream is cut off by curl's own limit.
                ["bash", "-euc", block],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, (block, done.stdout, done.stderr)
