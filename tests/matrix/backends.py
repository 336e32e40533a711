"""The matrix's backends: real servers on loopback, with private folders, ended by their pids."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from seism.demo.backends import Backends
from tests.ports import free_port
from tests.processes import process, until

PACKAGES = ("mariadb-server-core", "mariadb-client-core", "memcached", "slapd")
"""Debian's, of those servers that are in no wheel."""


class Servers:
    """Starts each server when it is asked for first; all end with the context."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._addresses: dict[str, str] = {}
        self._demo: Backends | None = None

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def address(self, name: str) -> str:
        """``host:port`` of the backend ``name``."""
        if name not in self._addresses:
            self._addresses[name] = self._start(name)
        return self._addresses[name]

    def _start(self, name: str) -> str:
        if name in ("valkey", "postgresql"):
            if self._demo is None:
                self._demo = self._stack.enter_context(Backends())
            return self._demo.addresses["cache" if name == "valkey" else "db"]
        start: dict[str, Callable[[int, Path], Any]] = {
            "mariadb": _mariadb, "memcached": _memcached, "openldap": _openldap, "smtp": _smtp,
            "http": _http, "https": _http,
        }  # fmt: skip
        port = free_port()
        # Closed to others it could not be: slapd and MariaDB may run as another user.
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="seism-")))
        self._stack.enter_context(start[name](port, folder))
        return f"127.0.0.1:{port}"


@contextmanager
def server(port: int, folder: Path, *argv: str) -> Iterator[None]:
    """``argv`` runs while the context lasts, and listens on ``port`` when it begins."""
    log = folder / "log"
    with log.open("wb") as output, process(*argv, stdout=output, stderr=output) as child:

        def answers() -> bool:
            assert child.poll() is None, log.read_text()[-2000:]
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                return False
            return True

        until(answers)
        yield


def found(program: str) -> str:
    """Its path, also where ``PATH`` lacks the folders of an administrator."""
    return (
        shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or program
    )


@contextmanager
def _mariadb(port: int, folder: Path) -> Iterator[None]:
    data = folder / "data"
    install = [
        found("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db",
        "--auth-root-authentication-method=normal", "--user=root",
    ]  # fmt: skip
    subprocess.run(install, check=True, capture_output=True, timeout=60)
    script = folder / "init.sql"
    script.write_text(
        "CREATE DATABASE IF NOT EXISTS test;\n"
        "CREATE USER IF NOT EXISTS seism@'%';\nGRANT ALL ON test.* TO seism@'%';\n"
    )
    options = [
        "--no-defaults", f"--datadir={data}", "--user=root", "--bind-address=127.0.0.1",
        f"--port={port}", f"--socket={folder / 's'}", f"--init-file={script}",
        "--skip-name-resolve", "--max-connections=400", "--innodb-flush-log-at-trx-commit=0",
    ]  # fmt: skip
    with server(port, folder, found("mariadbd"), *options):
        yield


def _memcached(port: int, folder: Path) -> Any:
    options = ["-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", "nobody", "-c", "2000"]
    return server(port, folder, found("memcached"), *options)


def _openldap(port: int, folder: Path) -> Any:
    config = folder / "slapd.conf"
    config.write_text("include /etc/ldap/schema/core.schema\nconcurrency 16\n")
    url = f"ldap://127.0.0.1:{port}"
    return server(port, folder, found("slapd"), "-f", str(config), "-h", url, "-d", "0")


def _smtp(port: int, folder: Path) -> Any:
    options = ["-n", "-l", f"127.0.0.1:{port}", "-c", "aiosmtpd.handlers.Sink"]
    return server(port, folder, sys.executable, "-m", "aiosmtpd", *options)


def _http(port: int, folder: Path) -> Any:
    options = ["--port", str(port), "--log-level", "warning", "--timeout-keep-alive", "60"]
    return server(port, folder, sys.executable, "-m", "uvicorn", *options, "tests.matrix.echo:app")
