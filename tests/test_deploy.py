"""The files of ``templates/deploy``, as far as they can be tried without Docker or a cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import redis
import yaml

from seism.client import Client
from seism.errors import Unavailable
from tests.debian import unable
from tests.ports import free_port
from tests.processes import process, until
from tests.servers import Valkey

DEPLOY = Path(__file__).parent.parent / "templates" / "deploy"
PAGE = DEPLOY.parents[1] / "docs" / "howto" / "deploy.md"
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
BACKENDS = {one["listen"] for one in tomllib.loads((DEPLOY / "seism.toml").read_text())["backend"]}


def pod() -> Any:
    return MANIFESTS[1]["spec"]["template"]["spec"]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: str(each["kind"]))
@pytest.mark.parametrize("version", ["1.29", "1.34"])
def test_kubernetes_takes_each_manifest(manifest: Any, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_all_have_the_same_proxies() -> None:
    proxies = (DEPLOY / "seism.toml").read_text().split("\n", 1)[1]
    assert MANIFESTS[0]["data"]["seism.toml"] == proxies
    assert proxies in PAGE.read_text()


def test_the_application_is_told_where_the_proxies_listen() -> None:
    (app,) = pod()["containers"]
    in_a_pod = {entry["name"]: entry.get("value", "") for entry in app["env"]}
    in_compose = COMPOSE["services"]["app"]["environment"]
    for told in (in_a_pod, in_compose):
        assert {name for name in BACKENDS if any(name in value for value in told.values())} == (
            BACKENDS
        )
        assert told["SEISM_SIDECAR"] == "127.0.0.1:8474"


def test_both_have_one_loopback_and_one_token() -> None:
    services = COMPOSE["services"]
    assert services["app"]["network_mode"] == "service:seism"
    assert (
        services["app"]["environment"]["SEISM_TOKEN"]
        == (services["seism"]["environment"]["SEISM_TOKEN"])
    )
    (sidecar,), (app,) = pod()["initContainers"], pod()["containers"]
    tokens = [
        next(entry["valueFrom"] for entry in each["env"] if entry["name"] == "SEISM_TOKEN")
        for each in (sidecar, app)
    ]
    assert tokens[0] == tokens[1]


def test_the_user_is_the_image_s() -> None:
    (sidecar,) = pod()["initContainers"]
    user = re.search(r"--uid (\d+)", (DEPLOY / "Dockerfile").read_text())
    assert user is not None
    assert sidecar["securityContext"]["runAsUser"] == int(user[1])


@pytest.mark.debian("systemd")
def test_systemd_takes_the_unit() -> None:
    if shutil.which("systemd-analyze") is None:
        unable("systemd-analyze is missing")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(DEPLOY / "seism.service")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sidecar_starts_before_its_backends(tmp_path: Path) -> None:
    """The command of the image, the token of the manifests, and a backend that comes later."""
    command = re.findall(r'CMD \["serve", "(.*)"\]', (DEPLOY / "Dockerfile").read_text())
    assert command == ["/etc/seism/seism.toml"]
    control, listen, upstream = free_port(), free_port(), free_port()
    text = (DEPLOY / "seism.toml").read_text()
    text = text.replace("cache:6379", f"localhost:{upstream}")
    text = text.replace("127.0.0.1:15432", "127.0.0.1:0")
    (tmp_path / "seism.toml").write_text(text.replace("127.0.0.1:16379", f"127.0.0.1:{listen}"))
    serve = ("-m", "seism", "serve", str(tmp_path / "seism.toml"), "--port", str(control))
    with process(sys.executable, *serve, cwd=tmp_path, env={"SEISM_TOKEN": "secret"}):
        client = Client(f"127.0.0.1:{control}", token="secret")
        until(lambda: _proxies(client) == ["cache", "db"])
        with redis.Redis(port=listen) as cache:
            with pytest.raises(redis.ConnectionError):
                cache.ping()
            with Valkey(port=upstream):
                until(lambda: _answers(cache))
    assert list((tmp_path / "seism-report").glob("journal-*.jsonl"))


def _proxies(client: Client) -> list[str]:
    try:
        return sorted(client.proxies())
    except Unavailable:
        return []


def _answers(cache: redis.Redis) -> bool:
    try:
        return bool(cache.ping())
    except redis.ConnectionError:
        return False
