from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT


@pytest.fixture(scope="session")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where ``make docs`` has put the manual, without its PDF; a warning would have
    ended it.
    """
    folder = tmp_path_factory.mktemp("manual")
    done = subprocess.run(
        # The packages are here, or there would be no test.
        ["make", "docs-pages", f"VENV={sys.prefix}", "--old-file", f"{sys.prefix}/.docs",
         f"DOCS={folder}"],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def pdf(manual: Path) -> Path:
    """What ``make docs`` makes a PDF of, without the words of its paragraphs and its code: a
    minute's work less. ``make proof`` has the whole of it.
    """
    page = manual / "single" / "index.html"
    words = page.read_text(encoding="utf-8")
    words = re.sub(r"(<(p|pre)>).*?(</\2>)", r"\1\3", words, flags=re.DOTALL)
    short = page.with_name("short.html")
    short.write_text(words, encoding="utf-8")
    made = manual / "seism.pdf"
    command = [sys.executable, "docs/pdf.py", str(short), str(made)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return made
