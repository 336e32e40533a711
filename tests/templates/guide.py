"""The rules of docs/guide: what the pages' blocks say, and an application to try them on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from seism.demo.backends import Backends
from seism.demo.scaffold import Answers, make
from tests.docs import pages
from tests.processes import ROOT
from tests.templates.conftest import environ

GUIDE = ROOT / "docs" / "guide"
PAGES = sorted(path for path in GUIDE.glob("*.md") if path.name != "index.md")
LOAD = """
[load]
workers = 8
steady = 6
during = 3
after = 8
again = 0
pause_ms = 5
timeout_s = 3
"""


@dataclass(frozen=True)
class Block:
    """A fenced block; ``file`` is what its first line names."""

    language: str
    text: str
    file: str


@dataclass(frozen=True)
class Change:
    """What a page takes out, and what is seen then."""

    page: str
    file: str
    lines: tuple[str, ...]
    """Of a diff: ``-`` goes, ``+`` comes, what begins with a blank stays."""
    proof: tuple[str, ...]
    """The page's tables, or its command."""
    seen: tuple[str, ...]
    """Each is in a line of the output, however it is aligned there."""


def blocks(page: Path) -> Iterator[Block]:
    """In their order."""
    for block in pages.blocks(page.read_text(encoding="utf-8")):
        file, text = re.fullmatch(r"(?:# file: (\S+)\n)?(.*)", block.text, re.DOTALL).groups()
        yield Block(block.language, text, file or "")


def changes(page: Path) -> Iterator[Change]:
    """Each diff of the page with what comes after it, and the proof before it."""
    found = list(blocks(page))
    proof = [block.text for block in found if block.language in ("toml", "sh")]
    for block, after in pairwise(found):
        if block.language == "diff":
            assert after.language == "text", (page, "a diff is followed by what is seen")
            lines = tuple(block.text.splitlines())
            seen = tuple(after.text.strip().splitlines())
            yield Change(page.name, block.file, lines, needed(proof, after.text), seen)


def needed(proof: list[str], seen: str) -> tuple[str, ...]:
    """Of the page's tables those that are named in what is seen, or else all."""
    tables = re.findall(r"\[\[perturbation]].*?(?=\n\[|\Z)", "\n".join(proof), re.DOTALL)
    named = [table for table in tables if re.findall('"(.+?)"', table)[0] in seen]
    return tuple(named or proof)


def holds(whole: str, part: str) -> bool:
    """Whether ``part`` is a stretch of ``whole``, which may be further to the right there."""
    one, other = (
        "\n".join(line.strip() for line in text.strip().splitlines()) for text in (whole, part)
    )
    return f"\n{other}\n" in f"\n{one}\n"


def applied(text: str, change: Change) -> str:
    """``text`` after it; each line that goes must be there, once."""
    for minus, plus in hunks(change.lines):
        (at,) = re.finditer(r"^( *)" + r"\n\1".join(map(re.escape, minus)) + "$", text, re.M)
        new = textwrap.indent("\n".join(plus), at[1])
        text = text[: at.start()] + new + text[at.end() :]
    return text


def hunks(lines: tuple[str, ...]) -> Iterator[tuple[list[str], list[str]]]:
    """Runs of lines that go, with those that come in their place."""
    minus: list[str] = []
    plus: list[str] = []
    for line in lines:
        if line.startswith("-") and plus:
            yield minus, plus
            minus, plus = [], []
        (minus if line.startswith("-") else plus).append(line[1:])
    yield minus, plus


class Shop:
    """What ``seism new`` writes, and its servers; run with the packages of these tests."""

    def __init__(self, folder: Path, backends: Backends) -> None:
        self.folder = folder
        make(Answers("shop", "flask"), folder)
        egg = folder / "shop.egg-info"  # as an installation would leave it
        egg.mkdir()
        (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 0.1.0\n")
        db, cache = backends.addresses["db"], backends.addresses["cache"]
        patience = re.findall(r"TIMEOUT_S=(\S+)", (GUIDE / "index.md").read_text("utf-8"))
        self.env = {
            **environ(), "TIMEOUT_S": patience[0], "PYTHONPATH": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{environ()['PATH']}",
            "DATABASE_URL": f"postgresql://seism@{db}/postgres", "CACHE_URL": f"redis://{cache}/0",
            "DATABASE_ADDRESS": db, "DATABASE_LOGIN": "seism@", "DATABASE_PATH": "/postgres",
            "CACHE_ADDRESS": cache, "CACHE_LOGIN": "", "CACHE_PATH": "/0",
        }  # fmt: skip
        assert self.run(sys.executable, "-m", "shop.tables").returncode == 0

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """In the project's folder, as its make targets do."""
        return subprocess.run(
            argv, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip

    def experiment(self, rules: str, *tables: str) -> subprocess.CompletedProcess[str]:
        """``make seism ARGS=--strict`` with the page's tables, and few requests."""
        path = self.folder / "seism.toml"
        text = path.read_text(encoding="utf-8").partition("[[perturbation]]")[0]
        head, rest = text.partition("[load]")[::2]
        routes = rest[rest.index("[[load.route]]") :]
        path.write_text("\n".join([head, LOAD, routes, *tables, rules]), encoding="utf-8")
        return self.run(sys.executable, "-m", "seism", "run", "seism.toml", "--strict")

    def report(self) -> dict[str, Any]:
        text = (self.folder / "seism-report" / "report.json").read_text(encoding="utf-8")
        report: dict[str, Any] = json.loads(text)
        return report
