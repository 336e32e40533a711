"""npm's toxiproxy-node-client, unchanged, against a real ``seism serve``."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from seism.client import Control
from tests import npm

DRIVER = Path(__file__).parent / "drive.js"


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm.install(tmp_path_factory.mktemp("npm"), "toxiproxy-node-client@4.1.0")


def test_every_method(node_modules: Path, control: Control, backend: str) -> None:
    done = subprocess.run(
        ["node", "--unhandled-rejections=strict", str(DRIVER),
         f"http://{control.host}:{control.port}", backend],
        env={**os.environ, "NODE_PATH": str(node_modules)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    steps: dict[str, Any] = dict(json.loads(done.stdout))
    listen = steps["create"]["listen"]
    assert listen.startswith("127.0.0.1:") and not listen.endswith(":0")
    proxy = {"name": "one", "listen": listen, "upstream": backend, "enabled": True}
    toxic = {
        "name": "slow", "type": "latency", "stream": "upstream", "toxicity": 0.5,
        "attributes": {"latency": 100, "jitter": 5},
    }  # fmt: skip

    def refused(status: int) -> dict[str, str]:
        return {"refused": f"Request failed with status code {status}"}

    assert steps == {
        "version": '{"version":"2.12.0"}',
        "create": proxy,
        "create again": refused(409),
        "create without upstream": refused(400),
        "get": proxy,
        "get unknown": refused(404),
        "getAll": ["one"],
        "disable": False,
        "enable": True,
        "kept listen": True,
        "addToxic": toxic,
        "addToxic again": refused(409),
        "addToxic of no type": refused(400),
        "getToxic": toxic,
        "getToxic unknown": refused(404),
        "updateToxic": {**toxic, "toxicity": 1, "attributes": {"latency": 7, "jitter": 5}},
        "removeToxic": None,
        "removeToxic again": refused(404),
        "reset": None,
        "after reset": True,
        "toxics after reset": refused(404),
        "populate": [["one", True, True], ["two", True, True]],
        "getAll after populate": ["one", "two"],
        "remove": None,
        "remove again": refused(404),
        "classes": True,
    }
    assert list(control.proxies()) == ["two"]
