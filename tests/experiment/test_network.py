"""Addresses and TLS in seism.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from seism.errors import ConfigurationError
from seism.experiment.config import load
from seism.experiment.session import placeholders
from seism.model import ClientTls, ProxySpec, ServerTls

CONFIG = """
[[backend]]
name = "ldap"
upstream = "[::1]:636"
listen = "unix:/run/ldap.sock"
tls = { certificate = "proxy.pem" }
upstream_tls = { ca = "/etc/ca.pem", name = "ldap.test" }
refused = "refuse"
"""


def test_a_backend_s_options_are_its_proxy_s(tmp_path: Path) -> None:
    file = tmp_path / "seism.toml"
    file.write_text(CONFIG)
    ((spec, toxics),) = load(file).proxies()
    assert toxics == ()
    assert spec == ProxySpec(
        "ldap",
        "[::1]:636",
        "unix:/run/ldap.sock",
        tls=ServerTls(f"{tmp_path}/proxy.pem"),
        upstream_tls=ClientTls("/etc/ca.pem", "ldap.test"),
        refused="refuse",
    )


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("certificate", "cert", "tls: unknown key 'cert'; did you mean 'certificate'?"),
        ("[::1]:636", "::1:636", "upstream: '::1:636' is not an address"),
        ("/run/", "run/", "has no absolute path"),
        ('"refuse"', '"refused"', "did you mean 'refuse'?"),
    ],
)
def test_mistakes(tmp_path: Path, was: str, becomes: str, message: str) -> None:
    file = tmp_path / "seism.toml"
    file.write_text(CONFIG.replace(was, becomes))
    with pytest.raises(ConfigurationError) as raised:
        load(file)
    assert message in str(raised.value)


def test_placeholders() -> None:
    assert placeholders("db", "[::1]:80") == {
        "db.address": "[::1]:80",
        "db.host": "::1",
        "db.port": "80",
    }
    assert placeholders("db", "unix:/s") == {"db.address": "unix:/s", "db.path": "/s"}
