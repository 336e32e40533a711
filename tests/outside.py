"""Somebody else's package, made of what a page shows, as pip installs it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docs.pages import blocks
from tests.processes import ROOT

PACKAGE = "your_package"


def code(page: str, marked: str) -> str:
    """The one block of a page in docs that has the text ``marked``, anywhere."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (found,) = (block.text for block in blocks(text) if marked in block.text)
    return found


def project(entry_points: str) -> str:
    """The whole ``pyproject.toml`` of the package."""
    return (
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n\n'
        f'[project]\nname = "{PACKAGE}"\nversion = "1.0"\n\n'
        f'[tool.setuptools]\npy-modules = ["{PACKAGE}"]\n\n{entry_points}'
    )


def install(folder: Path, source: str, entry_points: str) -> None:
    """Two files, a module and a ``pyproject.toml``, made a wheel and installed in ``folder``.

    The installed setuptools builds the wheel, so that no index is asked.
    """
    with tempfile.TemporaryDirectory() as made:
        files = {f"{PACKAGE}.py": source, "pyproject.toml": project(entry_points)}
        for name, text in files.items():
            (Path(made) / name).write_text(text, encoding="utf-8")
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
        options = ("--no-deps", "--no-index", "--no-build-isolation", "--no-compile")
        done = subprocess.run(
            [*pip, "install", *options, "--target", str(folder), made],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / f"{PACKAGE}.py").exists()
