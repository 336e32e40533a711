"""A backend that refuses, as clients see it; and urgent data."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from seism.model import ProxySpec
from tests.proxy.ends import raw
from tests.proxy.harness import backend, eventually, read_exactly


def refused(listen: str) -> bool:
    try:
        raw(listen).close()
    except (ConnectionRefusedError, FileNotFoundError):  # the latter while it changes over
        return True
    except ConnectionResetError:
        pass  # it can be reset before the connect has returned
    return False


def turned_away(listen: str) -> str:
    """How a client is, that was accepted."""
    try:
        with raw(listen) as client:
            return "closed" if client.recv(1) == b"" else "answered"
    except ConnectionResetError:
        return "reset"


def test_by_default_it_is_a_reset() -> None:
    with backend() as behind:
        behind.listener.close()
        assert turned_away(behind.proxy.listen) == "reset"


def test_it_can_be_an_end_of_stream() -> None:
    with backend() as behind:
        behind.proxies.update("backend", refused="close")
        behind.listener.close()
        assert turned_away(behind.proxy.listen) == "closed"


@pytest.mark.parametrize("unix", [False, True])
def test_it_can_be_a_refusal_until_the_backend_is_back(tmp_path: Path, unix: bool) -> None:
    with backend() as behind:
        listen = f"unix:{tmp_path}/p.sock" if unix else "127.0.0.1:0"
        upstream = behind.address
        proxy = behind.proxies.create(ProxySpec("front", upstream, listen, refused="refuse"))
        listen = proxy.listen
        port = behind.listener.getsockname()[1]
        behind.listener.close()
        assert turned_away(listen) == ("closed" if unix else "reset")
        eventually(lambda: refused(listen))
        assert proxy.enabled
        assert proxy.listen == listen
        behind.listener = socket.create_server(("127.0.0.1", port))
        behind.listener.settimeout(20)
        probe, _ = behind.listener.accept()
        assert probe.recv(1) == b""
        probe.close()
        eventually(lambda: not refused(listen))
        with raw(listen) as client:
            client.sendall(b"hello")
            while True:  # those that looked whether it is back come first
                there, _ = behind.listener.accept()
                if there.recv(5) == b"hello":
                    break
                there.close()
            there.close()
        eventually(lambda: proxy.connections == 0)
        assert behind.proxies.records == []


def test_down_and_up_while_it_refuses(tmp_path: Path) -> None:
    with backend() as behind:
        proxy = behind.proxies.create(ProxySpec("front", "127.0.0.1:1", refused="refuse"))
        assert turned_away(proxy.listen) == "reset"
        eventually(lambda: refused(proxy.listen))
        behind.proxies.update("front", enabled=False)
        assert refused(proxy.listen)
        behind.proxies.update("front", enabled=True)
        assert turned_away(proxy.listen) == "reset"
        behind.proxies.delete("front")
        assert refused(proxy.listen)


@pytest.mark.parametrize("who", ["client", "server"])
def test_an_urgent_byte_stays_in_its_place(who: str) -> None:
    with backend() as behind:
        ends = behind.pair()
        first, second = ends if who == "client" else ends[::-1]
        first.sendall(b"ab")
        first.send(b"!", socket.MSG_OOB)
        first.sendall(b"cd")
        assert read_exactly(second, 5) == b"ab!cd"
