"""Unix sockets and IPv6 as addresses, and the files of the former."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError, Unavailable
from seism.model import ProxySpec, address, show_address
from tests.proxy.ends import Listening, Tls, listen, pair, raw
from tests.proxy.harness import Proxies, eventually, read_exactly

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    with Proxies() as found:
        yield found


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("db:5432", "db", 5432),
        (":80", "127.0.0.1", 80),
        ("[::1]:0", "::1", 0),
        ("unix:/run/db.sock", "unix:/run/db.sock", 0),
        ("unix:/odd:80", "unix:/odd:80", 0),
    ],
)
def test_addresses_and_back(text: str, host: str, port: int) -> None:
    assert address(text, "here") == (host, port)
    assert address(show_address(host, port), "here") == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", "db", "db:", "db:x", "db:65536", "::1:80", "[::1]", "[::1:80", "db]:80", "db:²",
     "unix:", "unix:db.sock", "unix:/a\0b", "unix:/" + "x" * 107],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigurationError, match="here: "):
        address(text, "here")


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    try:
        host, port = address(text, "here")
    except ConfigurationError:
        return
    assert address(show_address(host, port), "here") == (host, port)


def test_the_file_is_private_and_goes_with_the_listener(proxies: Proxies, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    before = os.umask(0)
    try:
        proxy = proxies.create(ProxySpec("a", NOWHERE, f"unix:{path}"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert proxy.listen == f"unix:{path}"
    assert proxies.proxied() == ()
    proxies.update("a", enabled=False)
    assert not path.exists()
    proxies.update("a", enabled=True)
    assert path.is_socket()
    proxies.delete("a")
    assert not path.exists()


def test_the_file_of_a_dead_server_is_taken_over(proxies: Proxies, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    proxies.create(ProxySpec("a", NOWHERE, f"unix:{path}"))
    raw(f"unix:{path}").close()


@pytest.mark.parametrize("kind", ["alive", "file", "folder"])
def test_what_is_not_ours_is_left_alone(proxies: Proxies, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.sock"
    alive = socket.socket(socket.AF_UNIX)
    with alive:
        if kind == "alive":
            alive.bind(str(path))
            alive.listen()
        elif kind == "file":
            path.write_text("precious")
        else:
            path.mkdir()
        with pytest.raises(Unavailable, match=r"cannot listen on unix:.*address already in use"):
            proxies.create(ProxySpec("a", NOWHERE, f"unix:{path}"))
        assert path.exists()
        if kind == "alive":
            raw(f"unix:{path}").close()


def test_a_file_that_was_replaced_is_not_removed(proxies: Proxies, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    proxies.create(ProxySpec("a", NOWHERE, f"unix:{path}"))
    path.unlink()
    path.write_text("somebody else's")
    proxies.delete("a")
    assert path.read_text() == "somebody else's"


def test_a_folder_that_is_not_there(proxies: Proxies, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no such file or directory"):
        proxies.create(ProxySpec("a", NOWHERE, f"unix:{tmp_path}/none/a.sock"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Listening]:
    (tmp_path / "tls").mkdir()
    made = listen("unix", tmp_path, Tls(tmp_path / "tls"))
    yield made
    made.sock.close()


def test_a_perturbed_client_of_a_unix_socket_has_no_address(
    proxies: Proxies, server: Listening, tmp_path: Path
) -> None:
    proxies.create(ProxySpec("a", server.address, f"unix:{tmp_path}/a.sock"))
    proxies.toxic("a", "latency", latency=1, stream="upstream")
    with pair("unix", f"unix:{tmp_path}/a.sock", server, server.tls) as (client, there):
        client.sendall(b"hello")
        assert there.recv(5) == b"hello"
    (began,) = proxies.began
    assert (began.client, began.listen, began.source, began.offset) == (
        "unix:", f"unix:{tmp_path}/a.sock", "unix:", 0,
    )  # fmt: skip


def test_an_ipv4_client_of_an_ipv6_listener_is_shown_as_it_sees_itself(
    proxies: Proxies, server: Listening
) -> None:
    proxy = proxies.create(ProxySpec("a", server.address, "[::]:0"))
    proxies.toxic("a", "latency", latency=1, stream="upstream")
    with socket.create_connection(("127.0.0.1", proxy.address[1]), 20) as client:
        there = server.accept()
        client.sendall(b"hello")
        assert there.recv(5) == b"hello"
        (began,) = proxies.began
        assert began.client == "{}:{}".format(*client.getsockname())
        assert began.listen == "{}:{}".format(*client.getpeername())
        there.close()


def test_a_backend_whose_queue_is_full_is_waited_for(proxies: Proxies, tmp_path: Path) -> None:
    path = f"{tmp_path}/slow.sock"
    with socket.socket(socket.AF_UNIX) as slow:
        slow.bind(path)
        slow.listen(0)
        slow.settimeout(20)
        proxy = proxies.create(ProxySpec("a", f"unix:{path}"))
        clients = [socket.create_connection(proxy.address, 20) for _ in range(4)]
        eventually(lambda: proxy.connections == 4)
        for _ in clients:
            there, _ = slow.accept()
            there.sendall(b"welcome")
            there.close()
        for client in clients:
            assert read_exactly(client, 7) == b"welcome"
            client.close()
        eventually(lambda: proxy.connections == 0)
