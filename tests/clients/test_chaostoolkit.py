"""PyPI's chaostoolkit-toxiproxy, unchanged, against a real ``seism serve``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from chaostoxi.proxy import actions as proxy_actions
from chaostoxi.proxy import probes
from chaostoxi.toxic import actions as toxic_actions

from seism.client import Control
from seism.registry import load
from tests.clients.conftest import greeting

TOXICS: dict[str, tuple[Callable[..., Any], dict[str, int], dict[str, int]]] = {
    "latency": (toxic_actions.create_latency_toxic,
                {"latency": 5, "jitter": 1}, {"latency": 5, "jitter": 1}),
    "bandwidth": (toxic_actions.create_bandwith_degradation_toxic, {"rate": 100}, {"rate": 100}),
    "slow_close": (toxic_actions.create_slow_connection_close_toxic, {"delay": 10}, {"delay": 10}),
    "timeout": (toxic_actions.create_timeout_toxic, {"timeout": 10}, {"timeout": 10}),
    "slicer": (toxic_actions.create_slicer_toxic,
               {"average_size": 10, "size_variation": 2, "delay": 1},
               {"average_size": 10, "size_variation": 2, "delay": 1}),
    "limit_data": (toxic_actions.create_limiter_toxic, {"bytes_limit": 99}, {"bytes": 99}),
}  # fmt: skip
"""By type: the action that creates it, its arguments, the attributes that they become."""

Configuration = dict[str, Any]


@pytest.fixture(params=["host and port", "url"])
def configuration(
    request: pytest.FixtureRequest, control: Control, monkeypatch: pytest.MonkeyPatch
) -> Configuration:
    for name in ("one_PORT", "BACKEND_HOST", "BACKEND_PORT"):  # it writes to the environment
        monkeypatch.setenv(name, "")
    if request.param == "url":
        return {"toxiproxy_url": f"http://{control.host}:{control.port}"}
    return {"toxiproxy_host": control.host, "toxiproxy_port": control.port}


def create(configuration: Configuration, backend: str, **options: Any) -> str:
    """A proxy called ``one``; the address that it listens at."""
    host, _, port = backend.partition(":")
    made = proxy_actions.create_proxy(
        "one", host, int(port), listen_host="127.0.0.1", configuration=configuration, **options
    )
    assert made is True
    return f"127.0.0.1:{configuration['one_PORT']}"


def test_proxies(configuration: Configuration, backend: str) -> None:
    listen = create(configuration, backend)
    assert dict(os.environ)["one_PORT"] == configuration["one_PORT"] != "0"
    assert greeting(listen) == b"hello"
    assert probes.proxy_exist("one", configuration) is True
    assert probes.proxy_exist("none", configuration) is False
    assert probes.get_proxy_attribute("one", "upstream", configuration) == backend
    assert probes.get_proxy_attribute("none", "upstream", configuration) is None
    with pytest.raises(AssertionError):
        create(configuration, backend)
    assert proxy_actions.disable_proxy("one", configuration) is True
    assert probes.get_proxy_attribute("one", "enabled", configuration) is False
    assert greeting(listen) == b""
    assert proxy_actions.enable_proxy("one", configuration) is True
    assert greeting(listen) == b"hello"
    assert proxy_actions.modify_proxy(
        "one", upstream_address="127.0.0.1:1", configuration=configuration
    )
    assert probes.get_proxy_attribute("one", "upstream", configuration) == "127.0.0.1:1"
    assert probes.get_proxy_attribute("one", "listen", configuration) == listen
    with pytest.raises(AssertionError):
        proxy_actions.modify_proxy("none", enabled=True, configuration=configuration)
    proxy_actions.delete_proxy("one", configuration)
    assert probes.proxy_exist("one", configuration) is False
    proxy_actions.delete_proxy("one", configuration)


def test_addresses_from_the_environment_and_down_from_the_start(
    configuration: Configuration, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _, port = backend.partition(":")
    monkeypatch.setenv("BACKEND_HOST", host)
    monkeypatch.setenv("BACKEND_PORT", port)
    assert proxy_actions.create_proxy(
        "one", "env:BACKEND_HOST", "env:BACKEND_PORT", "127.0.0.1", enabled=False,
        configuration=configuration,
    )  # fmt: skip
    assert probes.get_proxy_attribute("one", "upstream", configuration) == backend
    assert probes.get_proxy_attribute("one", "enabled", configuration) is False


@pytest.mark.parametrize("kind", sorted(TOXICS.keys() & load().toxics.keys()))
def test_toxics(configuration: Configuration, backend: str, control: Control, kind: str) -> None:
    create(configuration, backend)
    action, arguments, attributes = TOXICS[kind]
    assert action("one", "bad day", configuration=configuration, **arguments) is True
    (toxic,) = probes.get_proxy_attribute("one", "toxics", configuration)
    assert (toxic["name"], toxic["type"], toxic["stream"]) == ("bad day", kind, "downstream")
    # A toxic may have more attributes than Toxiproxy's.
    assert attributes.items() <= toxic["attributes"].items()
    assert toxic_actions.delete_toxic("one", "bad day", configuration) is True
    assert toxic_actions.delete_toxic("one", "bad day", configuration) is False


def test_any_toxic_and_reset(configuration: Configuration, backend: str) -> None:
    create(configuration, backend)
    # It sends "attributes": null.
    assert toxic_actions.create_toxic(
        "one", "mute", "timeout", stream="upstream", toxicity=0.5, configuration=configuration
    )
    with pytest.raises(TypeError):  # it does not expect a no
        toxic_actions.create_toxic("one", "x", "nothing", configuration=configuration)
    assert proxy_actions.disable_proxy("one", configuration)
    assert proxy_actions.reset(configuration) is True
    assert probes.get_proxy_attribute("one", "enabled", configuration) is True
    assert probes.get_proxy_attribute("one", "toxics", configuration) == []


def test_every_action_is_tried() -> None:
    assert set(toxic_actions.__all__) == {"create_toxic", "delete_toxic"} | {
        action.__name__ for action, _, _ in TOXICS.values()
    }
    assert set(proxy_actions.__all__) == {
        "create_proxy", "disable_proxy", "enable_proxy", "modify_proxy", "delete_proxy", "reset",
    }  # fmt: skip
