"""Backends whose names do not resolve yet, or no longer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from seism.errors import ConfigurationError
from seism.model import ProxySpec
from tests.proxy.ends import raw
from tests.proxy.harness import Backend, backend, eventually
from tests.proxy.test_refused import turned_away

NAME = "db.test"


class Names:
    """A resolver that knows ``known`` only, and waits for ``answers``."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.answers = threading.Event()
        self.answers.set()
        self.asked = 0

    def look_up(self, host: str, port: int, where: str) -> Any:
        import gevent

        self.asked += 1
        while not self.answers.is_set():
            gevent.sleep(0.002)
        if host not in self.known:
            raise ConfigurationError(f"{where}: {host!r} does not resolve")
        return [(2, 1, 6, "", (self.known[host], port))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr("seism.proxy.endpoint._look_up", names.look_up)
    return names


@pytest.fixture
def behind() -> Iterator[Backend]:
    with backend() as behind:
        yield behind


def made(behind: Backend, **options: Any) -> str:
    """The address of a proxy to the backend by its name."""
    port = behind.listener.getsockname()[1]
    listen: str = behind.proxies.create(ProxySpec("named", f"{NAME}:{port}", **options)).listen
    return listen


def answered(behind: Backend, listen: str) -> bool:
    """Whether a client of the proxy reaches the backend."""
    behind.listener.settimeout(0.2)
    try:
        with raw(listen) as client:
            client.sendall(b"hello")
            server, _ = behind.listener.accept()
            with server:
                server.settimeout(10)
                return server.recv(5) == b"hello"
    except (ConnectionResetError, ConnectionRefusedError, BrokenPipeError, TimeoutError):
        return False


@pytest.mark.parametrize("refused", ["reset", "close"])
def test_a_proxy_can_be_made_before_the_container_behind_it(
    behind: Backend, names: Names, refused: str
) -> None:
    listen = made(behind, refused=refused)
    assert turned_away(listen) == ("closed" if refused == "close" else "reset")
    names.known[NAME] = "127.0.0.1"
    assert answered(behind, listen)


def test_one_that_refuses_finds_it_by_itself(behind: Backend, names: Names) -> None:
    listen = made(behind, refused="refuse")
    assert turned_away(listen) == "reset"
    names.known[NAME] = "127.0.0.1"
    behind.listener.settimeout(10)
    behind.listener.accept()[0].close()  # the proxy looks

    eventually(lambda: answered(behind, listen))


def test_a_name_whose_backend_went_away_is_looked_up_again(behind: Backend, names: Names) -> None:
    names.known[NAME] = "127.0.0.2"  # nobody listens there
    listen = made(behind)
    assert turned_away(listen) == "reset"
    names.known[NAME] = "127.0.0.1"
    eventually(lambda: answered(behind, listen))


def test_many_clients_wait_for_one_answer(behind: Backend, names: Names) -> None:
    names.answers.clear()
    listen = made(behind)
    clients = [raw(listen) for _ in range(20)]
    eventually(lambda: behind.proxies.get("named").connections == 20)
    assert names.asked == 1
    for client in clients[10:]:
        client.close()
    names.known[NAME] = "127.0.0.1"
    names.answers.set()
    for client in clients[:10]:
        client.sendall(b"x")
        behind.listener.settimeout(10)
        server, _ = behind.listener.accept()
        server.close()
        client.close()


@pytest.mark.parametrize("end", ["down", "deleted", "moved"])
def test_a_connection_whose_backend_is_being_looked_up_can_be_cut(
    behind: Backend, names: Names, end: str
) -> None:
    names.answers.clear()
    with raw(made(behind)) as client:
        client.sendall(b"hello")
        eventually(lambda: behind.proxies.get("named").connections == 1)
        if end == "down":
            behind.proxies.update("named", enabled=False)
        elif end == "deleted":
            behind.proxies.delete("named")
        else:
            behind.proxies.update("named", upstream=behind.address)
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
    names.known[NAME] = "127.0.0.1"
    names.answers.set()
    behind.listener.settimeout(0.2)
    with pytest.raises(TimeoutError):
        behind.listener.accept()
