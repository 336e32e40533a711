"""``make suites``: test suites that others wrote, as the load of ``pytest --seism``.

``python -m tests.foreign.run [PACKAGE ...] [--again]``. The source distribution of each package in
``suites.toml`` is downloaded by name and version and unpacked, and the package is installed beside
this checkout, into a folder of its own in the user's cache. A suite that was run at the present
commit is not run again. Reports are in ``build/suites/PACKAGE``, the figures in
``docs/outcomes/suites.json``, from which ``docs/proof.md`` has its table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from tests.databases import PostgreSQL
from tests.foreign.suites import Suite, registry
from tests.processes import ROOT
from tests.proof.run import commit
from tests.servers import Valkey

BUILD = ROOT / "build" / "suites"
STATE = ROOT / "docs" / "outcomes" / "suites.json"
INSTALL_SECONDS = 900
PATIENCE = 3
"""A run is killed after its budget times this."""


def install(suite: Suite) -> Path:
    """The folder with ``source`` and ``venv``; made once for each version."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seism-suites"
    home = cache / f"{suite.package}-{suite.version}"
    if (home / "installed").exists():
        return home
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    venv.create(home / "venv", with_pip=True)
    python = str(home / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "-q"]
    exact = f"{suite.package}=={suite.version}"
    source = ["download", "--no-deps", "--no-binary", suite.package, "-d", str(home), exact]
    for command in (source, ["install", suite.requirement, "pytest", *suite.requirements]):
        subprocess.run([*pip, *command], check=True, timeout=INSTALL_SECONDS)
    (archive,) = home.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(home / "unpacked", filter="data")
    (unpacked,) = (home / "unpacked").iterdir()
    unpacked.rename(home / "source")
    # This checkout with what it needs, behind the packages of the suite.
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    ours = sysconfig.get_path("purelib")
    (site / "zz_seism.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    for name, text in suite.files.items():
        (home / "source" / name).write_text(text, encoding="utf-8")
    (home / "installed").touch()
    return home


def run(suite: Suite) -> dict[str, Any]:
    """One run beside real servers: the figures of its report."""
    home, reports = install(suite), BUILD / suite.package
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    with ExitStack() as stack:
        env = {**os.environ, "PATH": f"{home / 'venv' / 'bin'}:{os.environ.get('PATH', '')}"}
        env.pop("VIRTUAL_ENV", None)
        tables = []
        for name, protocol in suite.backends.items():
            port = _serve(stack, protocol, suite.ports.get(name))
            env |= {name.upper(): f"127.0.0.1:{port}", f"{name.upper()}_PORT": str(port)}
            env[f"{name.upper()}_HOST"] = "127.0.0.1"
            tables.append(
                f'[[backend]]\nname = "{name}"\nupstream = "127.0.0.1:{port}"\n'
                f'protocol = "{protocol}"\n'
            )
            if protocol == "postgresql" and suite.setup:
                where = f"host=127.0.0.1 port={port} user=seism dbname=postgres"
                with psycopg.connect(where, autocommit=True) as connection:
                    for statement in suite.setup:
                        connection.execute(statement.encode())
        file = reports / "seism.toml"
        file.write_text("\n".join(tables), encoding="utf-8")
        env |= {name: _filled(value, env) for name, value in suite.env.items()}
        began = time.monotonic()
        done = subprocess.run(
            [
                *(str(home / "venv" / "bin" / "python"), "-m", "pytest"),
                *(_filled(each, env) for each in suite.tests),
                *(f"--seism={file}", f"--seism-budget={suite.seconds:g}"),
                f"--seism-report-dir={reports}",
            ],
            cwd=home / "source",
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=suite.seconds * PATIENCE + 120,
        )
        took = time.monotonic() - began
    (reports / "output.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise SystemExit(f"{suite.package}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return figures(reports, round(took))


def _serve(stack: ExitStack, protocol: str, port: int | None) -> int:
    if protocol == "postgresql":
        return stack.enter_context(PostgreSQL()).port
    return stack.enter_context(Valkey(port=port) if port else Valkey()).port


def _filled(text: str, env: Mapping[str, str]) -> str:
    for name in sorted(env, key=len, reverse=True):
        text = text.replace(f"${name}", env[name])
    return text


def figures(reports: Path, took: int) -> dict[str, Any]:
    """What a run came to."""
    coverage = json.loads((reports / "coverage.json").read_text(encoding="utf-8"))
    report = json.loads((reports / "report.json").read_text(encoding="utf-8"))
    colours = Counter(cell["colour"] for cell in report["cells"])
    return {
        "tests": coverage["tests"],
        "perturbations": coverage["tried"],
        "saved": coverage["saved"],
        "cells": {name: colours[name] for name in ("red", "amber", "green", "unsure")},
        "found": [each["title"] for each in report["weaknesses"]],
        "seconds": took,
        "commit": commit(ROOT),
    }


def _rows() -> dict[str, Any]:
    """What the suites came to so far."""
    return json.loads(STATE.read_text(encoding="utf-8")) if STATE.exists() else {}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 if a suite could not be run."""
    parser = argparse.ArgumentParser(prog="python -m tests.foreign.run", description=__doc__)
    parser.add_argument("package", nargs="*")
    parser.add_argument("--again", action="store_true", help="run what was run at this commit, too")
    parser.add_argument("--seconds", type=float, help="another budget")
    options = parser.parse_args(argv)
    rows = _rows()
    now, failed = commit(ROOT), []
    for suite in registry():
        if options.package and suite.package not in options.package:
            continue
        suite = replace(suite, seconds=options.seconds or suite.seconds)
        title = f"{suite.package} {suite.version}"
        if not options.again and rows.get(title, {}).get("commit") == now:
            print(f"{title}: done at this commit")
            continue
        try:
            row = run(suite)
        except (SystemExit, subprocess.SubprocessError) as error:
            print(f"{title}: {error}", flush=True)
            failed.append(title)
            continue
        rows = _rows() | {title: row}  # another run may have written meanwhile
        STATE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        print(
            f"{title}: {json.dumps(row['tests'])}, {row['perturbations']} perturbations, ", end=""
        )
        print(f"{row['seconds']} s, {json.dumps(row['cells'])}")
        for each in row["found"]:
            print(f"  {each}")
        sys.stdout.flush()
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
