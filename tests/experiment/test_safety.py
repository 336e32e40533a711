"""Test backends may be perturbed, and whatever is named."""

from __future__ import annotations

import pytest

from seism.errors import ConfigurationError
from seism.experiment import safety
from seism.experiment.request import Load, Route
from seism.experiment.target import Backend


@pytest.mark.parametrize(
    ("name", "upstream", "reason"),
    [
        ("db", "8.8.8.8:5432", "neither on loopback nor in a private network"),
        ("db", "[2001:4860:4860::8888]:5432", "neither on loopback"),
        ("db", "db.prod.internal:5432", "looks like production"),
        ("db-live", "127.0.0.1:5432", "looks like production"),
        ("db", "prod-eu1:5432", "looks like production"),
        ("db", "a.b.eu-west-1.rds.amazonaws.com:5432", "managed service of amazonaws.com"),
    ],
)
def test_refused(name: str, upstream: str, reason: str) -> None:
    backend = Backend(name, upstream)
    assert reason in safety.risk(name, upstream)
    with pytest.raises(ConfigurationError, match=f"seism.toml: backend '{name}': .*--allow {name}"):
        safety.refuse([backend], (), "seism.toml")
    safety.refuse([backend], (name,), "seism.toml")


@pytest.mark.parametrize(
    ("name", "upstream"),
    [
        ("db", "127.0.0.1:5432"),
        ("db", "localhost:5432"),
        ("db", "[::1]:5432"),
        ("db", "10.1.2.3:5432"),
        ("db", "192.168.0.4:5432"),
        ("products", "172.16.0.9:80"),
        ("delivery", "127.0.0.1:80"),
        ("db", "no.such.host.invalid:1"),
        ("db", "unix:/run/db.sock"),
    ],
)
def test_not_refused(name: str, upstream: str) -> None:
    assert safety.risk(name, upstream) == ""


def test_what_will_be_done_is_said_first() -> None:
    routes = (Route("/"), *(Route(f"/{n}", "POST") for n in range(12)))
    first, second = safety.announce([Backend("db", "127.0.0.1:5432")], Load(routes))
    assert first == "db (127.0.0.1:5432) will be made slow, broken and unreachable"
    assert "POST /0, " in second and second.endswith("POST /9 and 2 more")
