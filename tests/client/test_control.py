"""Calls: errors by status, connections that are kept, where the sidecar is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from seism.client import Client, Proxy
from seism.errors import ConfigurationError, Conflict, NotFound, SeismError, Unavailable
from tests.processes import ROOT, free_port, sidecar


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives each connection one of ``answers``; its address and what it got."""
    heard: list[bytes] = []

    def serve() -> None:
        for answer in answers:
            peer, _ = server.accept()
            with peer:
                heard.append(peer.recv(65536))
                peer.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", heard
        thread.join(30)


def test_errors_by_status(client: Client, db: Proxy) -> None:
    with pytest.raises(NotFound, match="proxy not found"):
        client.proxy("none").get()
    with pytest.raises(NotFound, match="toxic not found"):
        db.named("none").remove()
    with pytest.raises(Conflict, match="proxy already exists"):
        client.create(db.name, "127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="invalid toxic type"):
        db.add_toxic("nonsense")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(SeismError, match="in use"):
            client.create("taken", "127.0.0.1:1", listen=f"127.0.0.1:{taken.getsockname()[1]}")


def test_nobody_is_there() -> None:
    with pytest.raises(Unavailable, match=r"the sidecar at 127\.0\.0\.1:\d+ does not answer"):
        Client(f"127.0.0.1:{free_port()}").proxies()


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.0 200 OK\r\n\r\n<html>"])
def test_somebody_else_is_there(answer: bytes) -> None:
    with answering(answer) as (address, _):
        with pytest.raises(Unavailable):
            Client(address).proxies()


def test_an_error_without_words() -> None:
    with answering(b"HTTP/1.0 502 Bad\r\n\r\n<html>") as (address, _):
        with pytest.raises(SeismError, match="GET /proxies: 502"):
            Client(address).proxies()


def test_populate_and_reset(client: Client, db: Proxy) -> None:
    made = client.populate(
        [{"name": "p1", "upstream": "127.0.0.1:1", "toxics": [{"type": "timeout"}]}]
    )
    assert made[0]["toxics"][0]["name"] == "timeout_downstream"
    db.update(enabled=False)
    client.reset()
    assert client.proxy("p1").toxics() == []
    assert db.get()["enabled"]
    client.proxy("p1").delete()
    assert "p1" not in client.proxies()


def test_the_address_is_where_it_listens(db: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        with db.changed(upstream=f"127.0.0.1:{backend.getsockname()[1]}"):
            with socket.create_connection(db.address, timeout=30):
                backend.settimeout(30)
                backend.accept()[0].close()


def connections(port: int) -> list[object]:
    """Connections of this process to ``port``."""
    return [
        connection
        for connection in psutil.Process().net_connections("tcp")
        if connection.raddr and connection.raddr.port == port and connection.status == "ESTABLISHED"
    ]


def test_connections_are_kept_if_asked(client: Client, served: str) -> None:
    with Client(served, token="", keep_alive=True) as kept:
        kept.proxies()
        (first,) = connections(kept.port)
        with pytest.raises(NotFound):
            kept.proxy("none").get()
        kept.proxies()
        assert connections(kept.port) == [first]
    assert connections(client.port) == []
    client.proxies()
    assert connections(client.port) == []


def test_a_kept_connection_outlives_a_restart(tmp_path: Path) -> None:
    options = ("--port", str(free_port()))
    with sidecar(tmp_path / "one.jsonl", *options) as control:
        client = Client(f"{control.host}:{control.port}", token="", keep_alive=True)
        client.create("db", "127.0.0.1:1")
    with sidecar(tmp_path / "two.jsonl", *options):
        assert client.proxies() == {}
    client.close()


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEISM_SIDECAR", raising=False)
    assert (Client().host, Client().port) == ("127.0.0.1", 8474)
    ok = b"HTTP/1.0 200 OK\r\n\r\n{}"
    with answering(ok, ok) as (address, heard):
        monkeypatch.setenv("SEISM_SIDECAR", address)
        monkeypatch.setenv("SEISM_TOKEN", "the token")
        assert Client().proxies() == {}
        assert Client(address, token="another").proxies() == {}
    assert b"Authorization: Bearer the token\r\n" in heard[0]
    assert b"Authorization: Bearer another\r\n" in heard[1]


@pytest.mark.parametrize("address", ["localhost", "host:port", "host:99999", ":"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigurationError, match="host:port is expected"):
        Client(address)


def test_it_needs_the_standard_library_only() -> None:
    script = (
        "import sys, seism.client\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(*sorted(loaded - set(sys.stdlib_module_names)))"
    )
    # Without site, so that nothing but the repository could be found.
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["__main__", "seism"]
