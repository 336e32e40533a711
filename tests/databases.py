"""Real PostgreSQL and MariaDB servers for tests: private data, loopback, stopped by their pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from seism.demo import backends
from tests.ports import free_port

READY_S = 60.0
MARIADB = ("mariadb-server-core", "mariadb-client-core")
"""Debian packages that MariaDB needs; for ``pytest.mark.debian``."""


class _Server:
    """One server process; the subclass prepares its data and says how to start it."""

    stop = signal.SIGTERM

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = backends.private_folder()
        self._owner = backends.unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _secured(self, certificate: str, key: str) -> tuple[str, str]:
        """Copies of the two PEM files that the server, and nobody else, can read."""
        copies = []
        for name in (certificate, key):
            copy = self.folder / Path(name).name
            shutil.copyfile(name, copy)
            copy.chmod(0o600)
            if self._owner is not None:
                os.chown(copy, self._owner.uid, self._owner.gid)
            copies.append(str(copy))
        return copies[0], copies[1]

    def _as_owner(self) -> dict[str, Any]:
        if self._owner is None:
            return {}
        return {"user": self._owner.uid, "group": self._owner.gid, "extra_groups": []}

    def _start(self) -> None:
        command = self._command()
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                **self._as_owner(),
            )  # fmt: skip
        end = time.monotonic() + READY_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.02)

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(self.stop)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _debian_postgresql() -> Path:
    """The newest installation of Debian's package ``postgresql``."""
    return max(Path("/usr/lib/postgresql").iterdir(), key=lambda folder: int(folder.name))


class PostgreSQL(_Server):
    """PostgreSQL out of the wheel; user ``seism`` needs no password, the others theirs.

    ``scram``, ``md5`` and ``plain`` log in by the method of their name, with password ``secret``.
    """

    stop = signal.SIGINT

    def __init__(self, tls: tuple[str, str] | None = None, **settings: str) -> None:
        """``tls``: the files of its certificate and key; the wheel's has no TLS, Debian's has."""
        self._settings = settings
        self._tls = tls
        super().__init__()

    def _command(self) -> list[str]:
        install = backends.postgres_folder() if self._tls is None else _debian_postgresql()
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(data, self._owner.uid, self._owner.gid)
            if self._tls is None:
                install = backends._copy_install(install, self.folder / "postgres")
        backends._initdb(install, data, self._owner)
        ways = {"scram": "scram-sha-256", "md5": "md5", "plain": "password", "all": "trust"}
        (data / "pg_hba.conf").write_text(
            "".join(f"host all {user} 127.0.0.1/32 {way}\n" for user, way in ways.items())
            + "host replication all 127.0.0.1/32 trust\n"
        )
        settings = {
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "40",
            "max_wal_senders": "2",
            **self._settings,
        }
        if self._tls is not None:
            certificate, key = self._secured(*self._tls)
            settings |= {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}
        command = [str(install / "bin" / "postgres"), "-D", str(data), "-h", "127.0.0.1"]
        command += ["-p", str(self.port)]
        return command + [f"--{name}={value}" for name, value in settings.items()]

    def _answers(self) -> bool:
        return backends._accepts_session(self.port)

    def _start(self) -> None:
        super()._start()
        connection = backends._connect(self.port)
        try:
            for user in ("scram", "md5", "plain"):
                encryption = "md5" if user == "md5" else "scram-sha-256"
                connection.run(f"SET password_encryption = '{encryption}'")
                connection.run(f"CREATE ROLE {user} LOGIN PASSWORD 'secret'")
            connection.run("CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL)")
            connection.run("INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 5) n")
            connection.run("GRANT ALL ON items TO PUBLIC")
        finally:
            connection.close()


class MariaDB(_Server):
    """Debian's MariaDB; user ``root`` has no password, ``native`` has ``secret``.

    Database ``test`` with table ``items`` is there.
    """

    def __init__(self, tls: tuple[str, str] | None = None, **settings: str) -> None:
        """``tls``: the files of its certificate and key."""
        self._settings = settings
        self._tls = tls
        super().__init__()

    def _command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(self.folder, self._owner.uid, self._owner.gid)
            os.chown(data, self._owner.uid, self._owner.gid)
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            cwd=self.folder, check=True, capture_output=True, timeout=60, **self._as_owner(),
        )  # fmt: skip
        settings = {
            "innodb-buffer-pool-size": "16M",
            "innodb-log-file-size": "4M",
            "innodb-flush-log-at-trx-commit": "0",
            "max-allowed-packet": "64M",
            "local-infile": "1",
            **self._settings,
        }
        if self._tls is not None:
            settings["ssl-cert"], settings["ssl-key"] = self._secured(*self._tls)
        command = [
            shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "",
            "--no-defaults", f"--datadir={data}", "--bind-address=127.0.0.1",
            f"--port={self.port}", f"--socket={self.folder}/s", f"--pid-file={self.folder}/pid",
        ]  # fmt: skip
        return command + [f"--{name}={value}" for name, value in settings.items()]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                return bool(sock.recv(5))
        except OSError:
            return False

    def _start(self) -> None:
        super()._start()
        import pymysql

        with pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection:
            with connection.cursor() as cursor:
                for statement in (
                    "CREATE DATABASE test",
                    "CREATE TABLE test.items (id integer PRIMARY KEY, name text NOT NULL)",
                    "INSERT INTO test.items VALUES (1, 'item 1'), (2, 'item 2'), (3, 'item 3')",
                    "CREATE USER native IDENTIFIED BY 'secret'",
                    "GRANT ALL ON *.* TO native",
                    "CREATE PROCEDURE test.two() BEGIN SELECT 1; SELECT id FROM test.items; END",
                ):
                    cursor.execute(statement)
            connection.commit()
