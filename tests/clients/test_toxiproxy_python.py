"""PyPI's toxiproxy-python, unchanged, against a real ``seism serve``."""

from __future__ import annotations

import json

import pytest
from toxiproxy import Toxiproxy
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from seism.client import Control
from tests.clients.conftest import greeting
from tests.ports import free_port


@pytest.fixture
def server(control: Control, monkeypatch: pytest.MonkeyPatch) -> Toxiproxy:
    # The client keeps them on a class: monkeypatch puts the old ones back.
    monkeypatch.setattr(APIConsumer, "host", APIConsumer.host)
    monkeypatch.setattr(APIConsumer, "port", APIConsumer.port)
    found = Toxiproxy()
    found.update_api_consumer(control.host, control.port)
    return found


def test_the_server(server: Toxiproxy) -> None:
    assert server.running() is True
    assert json.loads(server.version()) == {"version": "2.12.0"}
    assert server.proxies() == {}
    assert server.get_proxy("none") is None
    server.update_api_consumer("127.0.0.1", free_port())
    assert server.running() is False
    assert server.version() is None


def test_proxies(server: Toxiproxy, backend: str) -> None:
    made = server.create(upstream=backend, name="one")
    assert (made.name, made.upstream, made.enabled) == ("one", backend, True)
    assert greeting(made.listen) == b"hello"
    off = server.create(upstream=backend, name="two", listen="127.0.0.1:0", enabled=False)
    assert off.enabled is False
    assert sorted(server.proxies()) == ["one", "two"]
    assert server.get_proxy("two").listen == off.listen
    with pytest.raises(ProxyExists):
        server.create(upstream=backend, name="one")
    # The client looks first; this is the server's own answer.
    with pytest.raises(ProxyExists, match="proxy already exists"):
        APIConsumer.post("/proxies", json={"name": "one", "upstream": backend})
    assert server.destroy(off) is True
    with pytest.raises(NotFound, match="proxy not found"):
        off.destroy()
    assert server.destroy("one") is False
    server.destroy_all()
    assert server.proxies() == {}


def test_down_and_up(server: Toxiproxy, backend: str) -> None:
    proxy = server.create(upstream=backend, name="one")
    proxy.disable()
    assert server.get_proxy("one").enabled is False
    assert greeting(proxy.listen) == b""
    proxy.enable()
    assert greeting(proxy.listen) == b"hello"
    with proxy.down():
        assert greeting(proxy.listen) == b""
    assert greeting(proxy.listen) == b"hello"


def test_toxics(server: Toxiproxy, backend: str) -> None:
    proxy = server.create(upstream=backend, name="one")
    proxy.add_toxic(type="latency", attributes={"latency": 5, "jitter": 1})
    proxy.add_toxic(type="timeout", name="mute", stream="upstream", toxicity=0.5)
    assert sorted(proxy.toxics()) == ["latency_downstream", "mute"]
    latency = proxy.get_toxic("latency_downstream")
    assert (latency.type, latency.stream, latency.toxicity) == ("latency", "downstream", 1.0)
    assert latency.attributes == {"latency": 5, "jitter": 1}
    mute = proxy.get_toxic("mute")
    assert (mute.stream, mute.toxicity, mute.attributes) == ("upstream", 0.5, {"timeout": 0})
    assert proxy.get_toxic("none") is None
    # It has one class for all conflicts.
    with pytest.raises(ProxyExists, match="toxic already exists"):
        proxy.add_toxic(type="timeout", name="mute")
    with pytest.raises(InvalidToxic, match="invalid toxic type"):
        proxy.add_toxic(type="nothing")
    assert proxy.destroy_toxic("mute") is True
    with pytest.raises(NotFound, match="toxic not found"):
        proxy.destroy_toxic("mute")


def test_reset(server: Toxiproxy, backend: str) -> None:
    proxy = server.create(upstream=backend, name="one")
    proxy.add_toxic(type="timeout")
    proxy.disable()
    assert server.reset() is True
    assert proxy.toxics() == {}
    assert greeting(proxy.listen) == b"hello"


def test_populate(server: Toxiproxy, backend: str) -> None:
    listen = f"127.0.0.1:{free_port()}"
    wanted = {"name": "one", "upstream": backend, "listen": listen}
    assert [each.name for each in server.populate([wanted])] == ["one"]
    assert server.populate([wanted]) == []
    other = {**wanted, "listen": "127.0.0.1:0"}
    (moved,) = server.populate([other])
    assert moved.listen != listen
    assert greeting(moved.listen) == b"hello"
