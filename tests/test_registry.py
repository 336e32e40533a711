from __future__ import annotations

import logging
from importlib.metadata import EntryPoint

import pytest

from seism.errors import ConfigurationError
from seism.registry import TOXICS, Registry, load
from seism.toxics.latency import Latency
from seism.toxics.reset_peer import ResetPeer
from seism.toxics.timeout import Timeout


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, TOXICS)


def test_the_built_ins_are_found_like_any_other() -> None:
    registry = load()
    assert registry.failures == []
    found = {name: registry.toxics[name] for name in ("latency", "timeout", "reset_peer")}
    assert found == {"latency": Latency, "timeout": Timeout, "reset_peer": ResetPeer}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("gone", "seism.toxics.no_such_module:Gone", "No module named"),
        ("missing", "seism.toxics.latency:Missing", "Missing"),
        ("stage", "seism.toxics.base:Stage", "not a subclass of Toxic"),
        ("base", "seism.toxics.base:Toxic", "must be a dataclass"),
        ("slow", "seism.toxics.latency:Latency", "with type = 'slow'"),
    ],
)
def test_a_plug_in_that_fails_is_named_and_takes_no_other_down(
    name: str, value: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        registry = Registry([entry(name, value), entry("timeout", "seism.toxics.timeout:Timeout")])
    assert list(registry.toxics) == ["timeout"]
    (failure,) = registry.failures
    assert (failure.group, failure.name) == (TOXICS, name)
    assert reason in failure.reason
    assert name in caplog.text


def test_the_second_of_one_name_is_left_out() -> None:
    latency = entry("latency", "seism.toxics.latency:Latency")
    registry = Registry([latency, latency])
    assert registry.toxics == {"latency": Latency}
    assert "registered already" in registry.failures[0].reason


def test_an_unknown_type_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="'latencyy'; did you mean 'latency'"):
        load().toxic("latencyy")
