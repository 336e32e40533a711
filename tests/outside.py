"""Somebody else's package, made of what a page shows, as an installer would leave it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import blocks
from tests.processes import ROOT

PACKAGE = "your_package"


def code(page: str, marked: str) -> str:
    """The one block of a page in docs that has the text ``marked``, anywhere."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (found,) = (block.text for block in blocks(text) if marked in block.text)
    return found


def install(folder: Path, source: str, entry_points: str) -> None:
    """``source`` in ``folder``, with the entry points of a ``pyproject.toml``."""
    (folder / f"{PACKAGE}.py").write_text(source, encoding="utf-8")
    metadata = folder / f"{PACKAGE}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    points = re.sub(r'\[project\.entry-points\."(.*)"\]', r"[\1]", entry_points)
    (metadata / "entry_points.txt").write_text(points.replace('"', ""), encoding="utf-8")
