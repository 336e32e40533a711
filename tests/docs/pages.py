"""The pages of the manual, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.processes import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\s*")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    text: str
    line: int
    not_run: str
    """Why it is not an example, as the comment above it says: ``<!-- not run: WHY -->``."""


def name(page: Path) -> str:
    """How a page is called in tests."""
    return page.relative_to(ROOT).as_posix()


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    tokens = _MARKDOWN.parse(text)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type != "fence":
            continue
        assert token.map is not None
        language, _, _ = token.info.strip().partition(" ")
        mark = _NOT_RUN.fullmatch(before.content) if before else None
        yield Block(language, token.content, token.map[0] + 2, mark[1] if mark else "")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The words of a page with their lines: no code, no addresses."""
    for token in _MARKDOWN.parse(text):
        if token.type == "inline" and token.map is not None:
            for child in token.children or ():
                if child.type == "text":
                    yield token.map[0] + 1, re.sub(r"https?://\S+", "", child.content)
