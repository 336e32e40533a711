"""Protocols and faults in seism.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from seism.errors import ConfigurationError
from seism.experiment.config import load
from seism.experiment.plan import Step

CONFIG = """
[[backend]]
name = "cache"
upstream = "127.0.0.1:6379"
protocol = "redis"

[[backend.toxic]]
type = "redis_loading"
exchange = { first = 3 }

[[perturbation]]
name = "replica"
backend = "cache"
type = "redis_readonly"
exchange = { key = "session:*", every = 2 }
"""


def test_a_fault_is_planned_like_any_toxic(tmp_path: Path) -> None:
    file = tmp_path / "seism.toml"
    file.write_text(CONFIG)
    experiment = load(file)
    ((proxy, (toxic,)),) = experiment.proxies()
    assert proxy.protocol == "redis"
    assert toxic.exchange == {"first": 3}
    (planned,) = experiment.perturbation
    assert Step(0, planned, 1, 1).to_dict()["exchange"] == {"key": "session:*", "every": 2}


def test_an_expression_that_can_not_be_is_found_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "seism.toml"
    config = CONFIG.replace('"redis"', '"postgresql"').replace("redis_loading", "exchange_hang")
    config = config.replace("redis_readonly", "postgresql_deadlock")
    file.write_text(config.replace('key = "session:*"', "regex = '(a'"))
    with pytest.raises(ConfigurationError, match=r"exchange.regex: '\(a', position 0: missing"):
        load(file)


def test_tls_that_can_not_be_negotiated_is_found_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "seism.toml"
    tls = 'tls = { certificate = "a.pem", negotiated = true }'
    file.write_text(CONFIG.replace('protocol = "redis"', f'protocol = "redis"\n{tls}'))
    with pytest.raises(ConfigurationError, match=r"backend 'cache': tls\.negotiated: .* redis is"):
        load(file)


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ('protocol = "redis"', "", "redis_loading needs a proxy that knows its protocol"),
        ('"redis"', '"reddis"', "backend 'cache': protocol: 'reddis' is not allowed, one of"),
        ("first", "frist", "exchange: unknown key 'frist'; did you mean 'first'?"),
        ("every = 2", "every = -2", "exchange.every: -2 is not allowed"),
        ("session:*", "s" * 257, "exchange.key: too long: 257 characters"),
        ("redis_readonly", "latency", "latency acts on bytes, not on exchanges"),
    ],
)
def test_mistakes_are_found_before_anything_runs(
    tmp_path: Path, was: str, becomes: str, message: str
) -> None:
    file = tmp_path / "seism.toml"
    file.write_text(CONFIG.replace(was, becomes))
    with pytest.raises(ConfigurationError) as raised:
        load(file)
    assert message in str(raised.value)
