"""What the pages of the documentation show is what happens."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, free_port, sidecar


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_command_line(tmp_path: Path) -> None:
    for block in blocks("cli.md", "toml"):
        name = re.match("# file: (.*)\n", block)
        assert name is not None
        (tmp_path / name[1]).write_text(block)
    # The page's ports may be taken here.
    listen = f"127.0.0.1:{free_port()}"
    while len(listen) != len("127.0.0.1:16379"):
        listen = f"127.0.0.1:{free_port()}"
    with sidecar(tmp_path / "journal.jsonl") as control:
        env = {**os.environ, "SEISM_SIDECAR": f"{control.host}:{control.port}"}
        env |= {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "80"}
        shown = "".join(blocks("cli.md", "console")).replace("127.0.0.1:16379", listen)
        happened = ""
        for command in re.findall(r"^\$ seism (.*)$", shown, re.MULTILINE):
            done = subprocess.run(
                [sys.executable, "-m", "seism", *shlex.split(command)],
                cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            code = f"[{done.returncode}]\n" if done.returncode else ""
            happened += f"$ seism {command}\n{done.stdout}{done.stderr}{code}"
    assert happened == shown


def test_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sidecar(tmp_path / "journal.jsonl") as control:
        monkeypatch.setenv("SEISM_SIDECAR", f"{control.host}:{control.port}")
        names: dict[str, object] = {}
        for block in blocks("client.md", "python"):
            exec(compile(block, "docs/client.md", "exec"), names)
        assert set(names) > {"db", "wan"}
