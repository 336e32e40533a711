from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT


@pytest.fixture(scope="session")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where ``make docs`` has put the manual; a warning would have ended it."""
    folder = tmp_path_factory.mktemp("manual")
    done = subprocess.run(
        # The packages are here, or there would be no test.
        ["make", "docs", f"VENV={sys.prefix}", "--old-file", f"{sys.prefix}/.docs",
         f"DOCS={folder}"],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
