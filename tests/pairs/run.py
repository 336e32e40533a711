"""``make pairs``: the bad release of each pair is found, and the good one is not blamed for it.

``python -m tests.pairs.run [NAME ...] [--times N] [--keep FOLDER]``. Releases are installed by pip,
into a folder of their own each, and are imported before what the environment has. ``--keep``
leaves the journal and the reports of each run in FOLDER/NAME/RELEASES.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from seism.verdict.result import AMBER, GREEN, RED
from tests.matrix.backends import Servers

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
INSTALLED = ROOT / "build" / "pairs"
SERVERS = {
    "waitress": '["{python}", "-m", "waitress", "--threads=8", "--listen=127.0.0.1:{{port}}", '
    '"{name}:app"]',
    "uvicorn": '["{python}", "-m", "uvicorn", "{name}:app", "--port", "{{port}}", "--loop", '
    '"asyncio", "--log-level", "warning"]',
}
EXPERIMENT = """\
[app]
command = {command}
url = "http://127.0.0.1:{{port}}"
env = {{ {variable} = "{{{backend}.address}}", SQLITE = "{folder}/sessions.sqlite" }}
[[backend]]
name = "{backend}"
upstream = "{upstream}"
protocol = "{protocol}"
[load]
workers = {workers}
timeout_s = 5
pause_ms = 5
[[load.route]]
path = "{path}"
[sweep]
pairs = 0
"""
BACKENDS = {
    "cache": ("valkey", "redis"),
    "db": ("postgresql", "postgresql"),
    "mysql": ("mariadb", "mysql"),
    "ldap": ("openldap", "ldap"),
    "mail": ("smtp", "smtp"),
    "api": ("http", "http"),
}
"""The name in ``pairs.toml`` -> the server, and its protocol."""


def main() -> int:
    """The exit code: 1 if a pair is not told apart."""
    pairs = tomllib.loads((HERE / "pairs.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description="Tell bad releases from good ones.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(pairs)}; default: all")
    parser.add_argument("--times", type=int, default=1, help="runs of each release")
    parser.add_argument("--keep", type=Path, help="the folder for the journals and reports")
    asked = parser.parse_args()
    wrong = 0
    with Servers() as servers:
        for name in asked.names or pairs:
            pair = pairs[name]
            for release in ("bad", "good"):
                for _ in range(asked.times):
                    releases = " ".join(pair[release])
                    with tempfile.TemporaryDirectory() as folder:
                        colour = cell(name, pair, pair[release], servers, Path(folder))
                        if asked.keep:
                            kept = asked.keep / name / releases.replace(" ", "+")
                            shutil.copytree(folder, kept, dirs_exist_ok=True)
                    right = colour in (RED, AMBER) if release == "bad" else colour == GREEN
                    excused = release == "good" and colour in (RED, AMBER) and "defect" in pair
                    wrong += not right and not excused
                    said = "its own defect" if excused else "WRONG"
                    said = "as it should be" if right else said
                    print(f"{name}: {releases}: {pair['found']}: {colour}, {said}", flush=True)
    return min(wrong, 1)


def cell(
    name: str, pair: dict[str, Any], releases: list[str], servers: Servers, folder: Path
) -> str:
    """The colour under the perturbation that shows the bug."""
    backend = pair["backend"]
    file = folder / "seism.toml"
    command = SERVERS[pair["server"]].format(python=sys.executable, name=name)
    file.write_text(
        EXPERIMENT.format(
            command=command.replace("{{", "{").replace("}}", "}"),
            variable=backend.upper(),
            backend=backend,
            upstream=servers.address(BACKENDS[backend][0]),
            protocol=BACKENDS[backend][1],
            workers=pair.get("workers", 4),
            path="/visit" if name.startswith("django") else "/",
            folder=folder,
        ),
        encoding="utf-8",
    )
    paths = (str(installed(releases)), str(HERE), str(ROOT))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1"}
    report = folder / "out"
    words = [pair.get("command", "run"), "--quiet", "--report-dir", str(report)]
    done = subprocess.run(
        [sys.executable, "-m", "seism", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        cells = json.loads((report / "report.json").read_text(encoding="utf-8"))["cells"]
    except OSError:
        return f"no report: {done.stderr.strip()[-300:]}"
    found = [
        each
        for each in cells
        if each["perturbation"] == pair["found"]
        and each["route"] == pair.get("route", each["route"])
    ]
    if os.environ.get("PAIRS_SHOW"):
        for each in cells:
            print(" ", each["perturbation"], each["colour"], each["reasons"][:2], flush=True)
    return str(found[0]["colour"]) if found else "not tried"


def installed(releases: list[str]) -> Path:
    """The folder of these releases, installed if they are not."""
    folder = INSTALLED / "+".join(releases).replace("==", "-")
    if not folder.exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *releases],
            check=True,
        )
    return folder


if __name__ == "__main__":
    sys.exit(main())
