from __future__ import annotations

import logging
from importlib.metadata import EntryPoint

import pytest

from seism.errors import ConfigurationError
from seism.protocols.redis import Redis
from seism.registry import PROTOCOLS, TOXICS, Registry, load
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


def test_a_protocol_brings_its_faults() -> None:
    registry = Registry([], [EntryPoint("redis", "seism.protocols.redis:Redis", PROTOCOLS)])
    assert registry.failures == []
    assert registry.protocol("redis", "here") is Redis
    assert registry.protocol("", "here") is None
    assert set(registry.toxics) == {fault.type for fault in Redis.faults}
    with pytest.raises(ConfigurationError, match="here: protocol: 'reddis' is not allowed"):
        registry.protocol("reddis", "here")


class Named(Redis):
    name = "named"


class Slow(Latency):
    protocol = "named"


class NotAFault(Redis):
    name = "named"
    faults = (Slow,)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("latency", "seism.toxics.latency:Latency", "not a subclass of Codec"),
        ("rediss", "seism.protocols.redis:Redis", "must have name = 'rediss'"),
        ("named", f"{__name__}:Named", "must be a fault of protocol 'named'"),
        ("named", f"{__name__}:NotAFault", "Slow must be a fault of protocol 'named'"),
    ],
)
def test_a_protocol_that_fails_is_named_and_brings_nothing(
    name: str, value: str, reason: str
) -> None:
    registry = Registry([], [EntryPoint(name, value, PROTOCOLS)])
    (failure,) = registry.failures
    assert (failure.group, failure.name) == (PROTOCOLS, name)
    assert reason in failure.reason
    assert (registry.toxics, registry.protocols) == ({}, {})
