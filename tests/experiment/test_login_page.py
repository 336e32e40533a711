"""The logins of docs/howto/login.md, by the load's own process against the real frameworks."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seism.experiment.config import load as loaded
from seism.experiment.config import substitute
from seism.experiment.request import Setup, requests
from seism.experiment.setup import Commands
from seism.experiment.supervisor import Supervisor
from tests.docs.pages import blocks
from tests.experiment.test_load import load, segment
from tests.experiment.test_setup import statuses
from tests.ports import free_port
from tests.processes import ROOT, process, wait_for

PAGE = ROOT / "docs" / "howto" / "login.md"
DJANGO, JWT, BASIC, IDS = (
    block.text for block in blocks(PAGE.read_text(encoding="utf-8")) if block.language == "toml"
)
SECRETS = {"DJANGO_SUPERUSER_PASSWORD": "d-s3cret", "API_PASSWORD": "a-s3cret"}


def sent(text: str, folder: Path) -> tuple[Setup, dict[str, Any]]:
    """What the page's file has the load's process do."""
    path = folder / "seism.toml"
    path.write_text(text, encoding="utf-8")
    found = loaded(path, SECRETS)
    assert found.load is not None
    told: dict[str, Any] = substitute(requests(found.load, found.setup, folder), SECRETS, "")
    return found.setup or Setup(), told


def answered(told: dict[str, Any], module: str, server: str, **env: str) -> dict[str, Any]:
    """How ``module`` answers six requests of each of two workers."""
    port = free_port()
    listen = [f"--listen=127.0.0.1:{port}"] if server == "waitress" else ["--port", str(port)]
    argv = [sys.executable, "-m", server, *listen, f"tests.experiment.{module}:app"]
    with process(*argv, env={**SECRETS, **env}) as child:
        wait_for(port, child)
        here: Any = SimpleNamespace(server_port=port)
        with load(here, workers=2, salt="salt", **told) as running:
            return segment(running, "steady", 6)[1]


def test_djangos_admin(tmp_path: Path) -> None:
    setup, told = sent(DJANGO, tmp_path)
    env = {"DATABASE_FILE": str(tmp_path / "db.sqlite3"), "PYTHONPATH": str(ROOT)}
    manage = tmp_path / "manage.py"
    manage.write_text((ROOT / "tests/experiment/login_django.py").read_text(encoding="utf-8"))
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with Supervisor() as children:
        commands = Commands(
            setup, children, tmp_path / "log", tmp_path, {**SECRETS, **env, "PATH": path}, "here"
        )
        commands.before()
    answer = answered(told, "login_django", "waitress", **env)
    assert "logins" not in answer
    assert statuses(answer) == {
        "GET /admin/login/": {"200": 2},
        "POST /admin/login/": {"302": 2},
        "GET /admin/auth/group/": {"200": 6},
        "POST /admin/auth/group/add/": {"302": 6},
    }
    assert {target for *_, target, _, _, _, _ in answer["clients"]} >= {"/admin/auth/group/"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (JWT, {"POST /token": {"200": 2}, "GET /me": {"200": 12}}),
        (BASIC, {"GET /basic": {"200": 12}}),
        (
            IDS,
            {
                "POST /orders": {"201": 4},
                "GET /orders/{id}": {"200": 4},
                "DELETE /orders/{id}": {"200": 4},
            },
        ),
    ],
    ids=["jwt", "basic", "ids"],
)
def test_fastapi(tmp_path: Path, text: str, expected: dict[str, dict[str, int]]) -> None:
    _, told = sent(text, tmp_path)
    answer = answered(told, "login_fastapi", "uvicorn")
    assert "logins" not in answer
    assert statuses(answer) == expected
