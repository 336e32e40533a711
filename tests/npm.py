"""Packages of npm, installed for one test into a folder of its own.

Where npm is missing, or cannot install, the test is skipped with the reason and the install
line; with ``CI=true`` it fails (``tests.debian.unable``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.debian import INSTALL, unable

PATIENCE = 100.0
"""Seconds that the installation may take."""


def install(folder: Path, *packages: str) -> Path:
    """Install ``packages`` (``name@version``) below ``folder``; what NODE_PATH must be then."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        unable(f"npm is missing: {' '.join((*INSTALL, 'nodejs', 'npm'))}")
    # Nothing outside of the folder is written, and no package runs code at installation.
    options = ["--prefix", str(folder), "--cache", str(folder / "cache"), "--ignore-scripts",
               "--no-audit", "--no-fund"]  # fmt: skip
    command = ["npm", "install", *options, *packages]
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "HOME": str(folder)}, timeout=PATIENCE,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        unable(f"not done within {PATIENCE:g} s: npm install {' '.join(packages)}")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        unable(f"npm install {' '.join(packages)}: {last}")
    return folder / "node_modules"
