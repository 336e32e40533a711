"""docs/tutorial.md, step by step, as its reader goes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import blocks
from tests.processes import ROOT
from tests.servers import Valkey

PAGE = ROOT / "docs" / "tutorial.md"
THEIRS = "127.0.0.1:6379"
"""The reader's own cache; the tests have one on another port."""


def steps(console: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, and what it shows."""
    yield from re.findall(r"^\$ (.*)\n((?:[^$].*\n|\n)*)", console, re.MULTILINE)


def pattern(shown: str) -> str:
    """``...`` stands for anything, on a line of its own for any lines."""
    text = re.escape(shown.strip()).replace(re.escape("\n..."), r"(?:\n.*)*")
    return text.replace(re.escape("..."), ".*")


def bare(text: str) -> str:
    """Without the blanks at the end of lines, which a table may have."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.mark.timeout(240)
def test_from_an_app_to_its_first_red_and_to_green(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "88"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    codes = []
    with Valkey() as valkey:
        ours = f"127.0.0.1:{valkey.port}"
        for block in blocks(PAGE.read_text(encoding="utf-8")):
            text = block.text
            named = re.match(r"# (file|more of): (\S+)\n", text)
            if named:
                with (tmp_path / named[2]).open("w" if named[1] == "file" else "a") as file:
                    file.write(text.replace(THEIRS, ours))
            else:
                assert block.not_run or block.language == "console", "each block is a step"
            for command, shown in steps(text) if block.language == "console" else ():
                program, *words = shlex.split(command)
                assert program == "seism"
                done = subprocess.run(
                    [sys.executable, "-m", "seism", *words],
                    cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False,
                )  # fmt: skip
                code = f"[{done.returncode}]" if done.returncode else ""
                said = bare(f"{done.stdout.replace(ours, THEIRS)}{code}")
                assert re.fullmatch(pattern(bare(shown)), said), said
                codes.append(done.returncode)
    assert codes == [0, 1, 0]
