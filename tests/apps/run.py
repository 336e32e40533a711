"""``make apps``: real applications from the package index, judged by Seism.

``python -m tests.apps.run [NAME ...] [--again | --report]``. Each application is installed into a
folder of its own in the user's cache, initialised beside real servers, given to ``seism init``,
whose file is edited in five lines at most, and to ``seism run``. The report is compared with the
table of true defects in ``NAME.toml``. An application that was judged at the present commit is not
run again. Commands, edited lines, times and reports are in ``build/apps/NAME``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from seism.demo.backends import Backends
from tests.apps.application import Application, compare, edit, load, names, table
from tests.apps.directory import directory
from tests.ports import free_port
from tests.processes import ROOT, process, until
from tests.proof.run import commit

BUILD = ROOT / "build" / "apps"
STATE = ROOT / "docs" / "outcomes" / "apps.json"
INSTALL_SECONDS = 900
SETUP_SECONDS = 300


def cache() -> Path:
    """Where the applications are installed."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "seism-apps"


class Workshop:
    """One application's folder, environment and log."""

    def __init__(self, app: Application, servers: dict[str, str]) -> None:
        self.app = app
        self.folder = BUILD / app.name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.home = cache() / f"{app.name}-{_digest(app)}"
        self.env = {
            **os.environ,
            **servers,
            "PORT": str(free_port()),
            **{variable: str(free_port()) for variable, _ in app.services},
            "FOLDER": str(self.folder),
            "NO_COLOR": "1",
            "PATH": os.pathsep.join(
                (str(self.home / "bin"), str(self.home / "node_modules" / ".bin"),
                 os.environ.get("PATH", ""))
            ),
        }  # fmt: skip
        self.env.pop("VIRTUAL_ENV", None)
        for name, value in app.env:
            self.env[name] = self._fill(value)

    def _fill(self, text: str) -> str:
        for name in sorted(self.env, key=len, reverse=True):
            text = text.replace(f"${name}", self.env[name])
        return text

    def install(self, log: TextIO) -> None:
        """From the package index, once for each list of packages."""
        done = self.home / "installed"
        if done.exists():
            return
        shutil.rmtree(self.home, ignore_errors=True)
        if self.app.packages:
            venv.create(self.home, with_pip=True)
            self.command(
                log, [str(self.home / "bin" / "pip"), "install", "--quiet", *self.app.packages],
                INSTALL_SECONDS,
            )  # fmt: skip
        if self.app.npm:
            self.home.mkdir(parents=True, exist_ok=True)
            self.command(
                log, ["npm", "install", "--silent", "--prefix", str(self.home), *self.app.npm],
                INSTALL_SECONDS,
            )  # fmt: skip
        done.touch()

    def serve(self, log: TextIO, stack: ExitStack) -> None:
        """Start its own servers, which run while ``stack`` lasts."""
        for variable, command in self.app.services:
            words = shlex.split(self._fill(command))
            log.write(f"$ {shlex.join(words)} &\n")
            log.flush()
            stack.enter_context(
                process(*words, cwd=self.folder, env=self.env, stdout=log, stderr=log)
            )
            until(lambda port=int(self.env[variable]): _listens(port), seconds=SETUP_SECONDS)

    def command(
        self, log: TextIO, words: Sequence[str], seconds: float, codes: Sequence[int] = (0,)
    ) -> int:
        """Run a command in the folder, logged with its time; raises RuntimeError."""
        log.write(f"$ {shlex.join(words)}\n")
        log.flush()
        begun = time.monotonic()
        child = subprocess.Popen(
            words, cwd=self.folder, env=self.env, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            code = child.wait(seconds)
        except BaseException:
            # It undoes what it did and ends its own children.
            child.send_signal(signal.SIGINT)
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            raise
        log.write(f"# exit code {code} after {time.monotonic() - begun:.1f} s\n")
        log.flush()
        if code not in codes:
            raise RuntimeError(f"{shlex.join(words)}: exit code {code}, see {log.name}")
        return code


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _digest(app: Application) -> str:
    return hashlib.sha256(repr((app.packages, app.npm)).encode()).hexdigest()[:12]


def judge(app: Application, servers: dict[str, str]) -> dict[str, Any]:
    """The row of the table for one application."""
    shop = Workshop(app, servers)
    with (shop.folder / "log").open("w", encoding="utf-8") as log, ExitStack() as stack:
        shop.install(log)
        for line in app.setup:
            shop.command(log, ["sh", "-ec", line], SETUP_SECONDS)
        shop.serve(log, stack)
        seism = [sys.executable, "-m", "seism"]
        shop.env["PYTHONPATH"] = str(ROOT)
        begun = time.monotonic()
        command = [shop._fill(word) for word in shlex.split(app.command)]
        headers = [word for header in app.headers for word in ("--header", header)]
        shop.command(log, [*seism, "init", "--quiet", *headers, "--", *command], SETUP_SECONDS)
        init_s = time.monotonic() - begun
        file = shop.folder / "seism.toml"
        written = file.read_text(encoding="utf-8")
        (shop.folder / "seism.toml.init").write_text(written, encoding="utf-8")
        for each in app.edits:
            log.write(f"- {each.line}\n" + "".join(f"+ {line}\n" for line in each.becomes))
        file.write_text(edit(written, app.edits), encoding="utf-8")
        shop.command(log, [*seism, "check"], SETUP_SECONDS)
        words = [*seism, "run", "--quiet", "--report-dir", "out"]
        code = shop.command(log, words, app.seconds, codes=(0, 1, 3, 4))
    return {
        **compared(app, shop.folder / "out"),
        "code": code,
        "init_s": round(init_s, 1),
        "run_s": round(time.monotonic() - begun, 1),
    }


def compared(app: Application, folder: Path) -> dict[str, Any]:
    """What of the row follows from the report in ``folder``."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    found = asdict(compare(app.defects, report))
    return {"title": app.title, **found, "edited": app.edited, "commit": commit(ROOT)}


def judged_again(app: Application) -> dict[str, Any]:
    """The same from the journal of its last run, by the verdict as it is now."""
    folder = BUILD / app.name
    words = [sys.executable, "-m", "seism", "report", "out/journal.jsonl", "--report-dir", "again"]
    subprocess.run(words, cwd=folder, stdout=subprocess.DEVNULL, check=False)
    return compared(app, folder / "again")


def servers(stack: ExitStack, chosen: Sequence[Application]) -> dict[str, str]:
    """The environment variables that name the servers, which run while ``stack`` lasts."""
    databases = [f"CREATE DATABASE {app.name}" for app in chosen]
    running = stack.enter_context(Backends(schema=databases))
    found: dict[str, str] = {}
    for name, address in running.addresses.items():
        found[name.upper()] = address
        found[f"{name.upper()}_HOST"], _, found[f"{name.upper()}_PORT"] = address.rpartition(":")
    if any("openldap" in app.servers for app in chosen):
        found["LDAP"] = stack.enter_context(directory())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, print the table; 1 if a defect was missed, or a red cell is unexplained."""
    parser = argparse.ArgumentParser(prog="python -m tests.apps.run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}")
    parser.add_argument("--again", action="store_true", help="what has been judged, too")
    parser.add_argument("--report", action="store_true", help="only judge the last runs again")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(names()):
        parser.error(f"no such application: {', '.join(sorted(unknown))}")
    chosen = [load(name) for name in given.names or names()]
    rows: dict[str, Any] = json.loads(STATE.read_text()) if STATE.exists() else {}
    now = commit(ROOT)
    failed = 0
    for app in chosen:
        if given.report:
            rows[app.name] = {**rows[app.name], **judged_again(app)}
        elif not given.again and rows.get(app.name, {}).get("commit") == now:
            print(f"{app.name}: judged at this commit", flush=True)
        else:
            with ExitStack() as stack:
                rows[app.name] = judge(app, servers(stack, [app]))
        STATE.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        for kind in ("missed", "further"):
            for line in rows[app.name][kind]:
                print(f"{app.name}: {kind}: {line}", flush=True)
                failed += 1
    print(table({app.name: rows[app.name] for app in chosen}))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
