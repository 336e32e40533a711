"""``seism init`` on applications that know nothing of Seism, with real servers behind them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from seism.demo.backends import DATABASE_USER, Backends
from seism.experiment import probe
from seism.experiment.config import Experiment, load
from seism.experiment.discovery import Discovery, FoundBackend, FoundRoute, openapi, urls
from seism.experiment.draft import draft
from tests.ports import free_port

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends() as started:
        yield started


def init(
    folder: Path, *words: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seism", "init", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}, cwd=folder,
        capture_output=True, text=True, timeout=90, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def environment(backends: Backends) -> dict[str, str]:
    database = f"postgresql://{DATABASE_USER}@{backends.addresses['db']}/postgres"
    return {"CACHE": backends.addresses["cache"], "DB": database}


def test_an_existing_application(backends: Backends, tmp_path: Path) -> None:
    bind = f"127.0.0.1:{free_port()}"
    command = ("gunicorn", "-w", "2", "-b", bind, "tests.experiment.init_app:app")
    done = init(tmp_path, "--", *command, env=environment(backends))
    assert done.returncode == 0, done.stderr
    assert "at most 100 of its routes" in " ".join(done.stderr.split())
    experiment = load(tmp_path / "seism.toml", {})
    assert experiment.app is not None and experiment.load is not None
    assert experiment.app.inject and experiment.app.redirect
    assert experiment.app.command == (*command[:4], "127.0.0.1:{port}", command[5])
    assert {(each.upstream, each.protocol) for each in experiment.backend} == {
        (backends.addresses["cache"], "redis"), (backends.addresses["db"], "postgresql"),
    }  # fmt: skip
    assert [route.path for route in experiment.load.route] == ["/", "/rows"]
    text = (tmp_path / "seism.toml").read_text()
    assert '# path = "/items/{number}"' in text and '# path = "/orders"' in text
    assert "# Its address is in: environment DB" in text
    # The load can come from elsewhere.
    document = {"paths": {"/rows": {"get": {}}}, "components": {"securitySchemes": {
        "basic": {"type": "http", "scheme": "basic"}}}}  # fmt: skip
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    given = ("--from", "openapi.json", "--force", "--", *command)
    done = init(tmp_path, *given, env=environment(backends))
    assert "set these variables: API_USER, API_PASSWORD" in done.stdout, done.stderr
    experiment = load(tmp_path / "seism.toml", {"API_USER": "ada", "API_PASSWORD": "x"})
    assert experiment.setup is not None and experiment.load is not None
    assert experiment.setup.basic == "${API_USER}:${API_PASSWORD}"
    assert [route.name for route in experiment.load.route] == ["GET /rows"]
    # Nothing is overwritten unasked.
    again = init(tmp_path, "--", *command)
    assert again.returncode == 2 and "seism.toml: exists already" in again.stderr


@pytest.mark.parametrize("server", ["aiohttp", "django"])
def test_the_routes_of_a_framework(server: str, tmp_path: Path) -> None:
    apps = ROOT / "tests" / "seism_middleware" / "inject_apps.py"
    done = init(tmp_path, "--", sys.executable, str(apps), server, str(free_port()))
    assert done.returncode == 0, done.stderr
    experiment = load(tmp_path / "seism.toml")
    assert experiment.app is not None and experiment.load is not None
    assert experiment.app.inject and experiment.app.command[-1] == "{port}"
    assert "/pid" in [route.path for route in experiment.load.route]
    assert '# path = "/broken"  # a GET answered 500' in (tmp_path / "seism.toml").read_text()


NOT_PYTHON = "python3 -I -m http.server --bind 127.0.0.1 {port}"


def test_an_application_that_cannot_be_observed_from_within(tmp_path: Path) -> None:
    port = free_port()
    done = init(tmp_path, "--", *NOT_PYTHON.format(port=port).split())
    assert done.returncode == 0, done.stderr
    experiment = load(tmp_path / "seism.toml")
    assert experiment.app is not None and experiment.front is not None
    assert not experiment.app.inject
    assert experiment.app.command[-1] == "{port}"
    assert "TO DO: the app connected to no backend" in (tmp_path / "seism.toml").read_text()


LOGIN = """
import sys
from wsgiref.simple_server import make_server
def app(environ, start_response):
    known = environ.get("HTTP_COOKIE", "").endswith("t")
    start_response("200 OK" if known else "302 Found", [("Location", "/login")])
    return [b"fine"]
make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""


def test_a_login_by_a_header(tmp_path: Path) -> None:
    command = ("--", sys.executable, "-c", LOGIN, str(free_port()))
    done = init(tmp_path, "--header", "Cookie: session=${S}", *command, env={"S": "secret"})
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "seism.toml").read_text()
    assert 'headers = { Cookie = "session=${S}" }' in text and "secret" not in text
    assert load(tmp_path / "seism.toml", {"S": "secret"}).load is not None
    done = init(tmp_path, "--force", "--header", "Cookie: ${NO_SUCH}", *command)
    assert done.returncode == 2 and "header Cookie: the environment has no NO_SUCH" in done.stderr


BOOTS = """
import sys
print("Traceback (most recent call last):")
print("ModuleNotFoundError: No module named 'shop'")
print("Reason: Worker failed to boot.")
sys.exit(3)
"""


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ((sys.executable, "-c", "raise SystemExit('no settings')"), 3, "exit code 1 .*no settings"),
        ((sys.executable, "-c", BOOTS), 3, "No module named 'shop'; Reason: Worker failed"),
        (("no-such-program",), 2, "'no-such-program' was not found"),
        ((), 2, "seism init -- COMMAND"),
    ],
)
def test_what_does_not_start(
    tmp_path: Path, command: tuple[str, ...], code: int, said: str
) -> None:
    done = init(tmp_path, "--", *command)
    assert done.returncode == code
    assert re.search(said, done.stderr)
    assert not (tmp_path / "seism.toml").exists()


PRODUCTION = """
import socket, sys
from wsgiref.simple_server import make_server
def app(environ, start_response):
    start_response("200 OK", [])
    try:
        socket.create_connection(("198.41.0.4", 5432), 0.1)
    except OSError:
        pass
    return [b"fine"]
make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""


def test_a_public_backend_is_refused_and_can_be_allowed(tmp_path: Path) -> None:
    command = ("--", sys.executable, "-c", PRODUCTION, str(free_port()))
    done = init(tmp_path, *command)
    assert done.returncode == 2
    assert "198.41.0.4:5432 is neither on loopback nor in a private network" in done.stderr
    assert not (tmp_path / "seism.toml").exists()
    assert init(tmp_path, "--allow", "198.41.0.4:5432", *command).returncode == 0
    assert "nobody answered" in (tmp_path / "seism.toml").read_text()


def test_run_without_a_file_offers_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seism", "run"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "seism init -- COMMAND" in done.stderr


def test_protocols_by_their_first_bytes(backends: Backends) -> None:
    for name, spoken in (("cache", "redis"), ("db", "postgresql")):
        host, _, port = backends.addresses[name].rpartition(":")
        assert probe.protocol(host, int(port)) == spoken
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert probe.protocol("127.0.0.1", silent.getsockname()[1]) == ""
    assert probe.protocol("127.0.0.1", free_port()) == ""


def read(folder: Path, found: Discovery) -> Experiment:
    (folder / "seism.toml").write_text(draft(found), encoding="utf-8")
    return load(folder / "seism.toml", {})


def test_each_draft_is_a_whole_file(tmp_path: Path) -> None:
    found = Discovery(("serve", "--port=8000", "8000", "x8000"), 8000)
    empty = read(tmp_path, found)
    assert empty.app is not None and empty.load is not None
    assert empty.app.command == ("serve", "--port={port}", "{port}", "x8000")
    assert [route.path for route in empty.load.route] == ["/"]
    found.backends = [
        FoundBackend("tls", "10.0.0.1", 6380, "tls"),
        FoundBackend("port9", "10.0.0.1", 9, ""),
        FoundBackend("redis", "10.0.0.1", 6379, "redis", answers=False),
        FoundBackend("mysql", "::1", 3306, "mysql", by_python=True),
    ]
    found.routes = [FoundRoute("/", status=500), FoundRoute('/a"b', status=200)]
    found.allowed = ("tls",)
    whole = read(tmp_path, found)
    assert whole.app is not None and whole.load is not None
    assert whole.app.ready == '/a"b' and whole.app.redirect
    assert [each.name for each in whole.backend] == ["tls", "port9", "mysql"]
    assert whole.limits.allow == ("tls",)
    assert "upstream_tls" in draft(found)


def test_few_segments_first_and_what_redirects_is_not_in_the_load(tmp_path: Path) -> None:
    found = Discovery(("serve",), 8000, headers={"Cookie": "a"})
    found.routes = [FoundRoute(f"/{number}", status=200) for number in range(12)]
    found.routes += [FoundRoute("/private", status=302)]
    whole = read(tmp_path, found)
    assert whole.load is not None
    assert [route.path for route in whole.load.route] == [f"/{number}" for number in range(8)]
    assert whole.setup is not None and whole.setup.headers == {"Cookie": "a"}
    text = draft(found)
    assert '# path = "/11"' in text and '# path = "/private"  # a GET answered 302' in text
    # A backend that only one route asks is asked in the load.
    found.routes[11] = replace(found.routes[11], is_first=True)
    ranked = read(tmp_path, found)
    assert ranked.load is not None
    paths = [route.path for route in ranked.load.route]
    assert paths == [*(f"/{number}" for number in range(7)), "/11"]
    found.routes = found.routes[-1:]
    only = read(tmp_path, found)
    assert only.load is not None and [route.path for route in only.load.route] == ["/private"]
    assert not FoundRoute("/a/.*/$").is_safe and not FoundRoute("/a/*rest").is_safe
    assert not FoundRoute("/logout").is_safe and FoundRoute("/blog/out").is_safe


def test_urls_of_a_command_line_are_backends() -> None:
    command = ("devpi-server", "--primary-url=http://me:secret@primary:3141/x", "http://[::1]:80")
    assert urls((*command, "http://primary/", "--bind", "a:1")) == {("primary", 3141), ("::1", 80)}


MOUNTED = """
import sys, uvicorn
from fastapi import APIRouter, FastAPI
api, app, router = FastAPI(), FastAPI(), APIRouter()
@api.get("/ready")
def ready(): return {}
@router.get("/flows")
def flows(): return []
api.include_router(router, prefix="/v1")
app.mount("/api", api)
app.openapi = api.openapi
uvicorn.run(app, port=int(sys.argv[1]))
"""


def test_routes_of_a_mounted_api_are_asked_where_they_are(tmp_path: Path) -> None:
    done = init(tmp_path, "--", sys.executable, "-c", MOUNTED, str(free_port()))
    assert done.returncode == 0, done.stderr
    paths = re.findall(r'path = "(.*)"', (tmp_path / "seism.toml").read_text())
    assert sorted(paths) == ["/", "/api/ready", "/api/v1/flows"]


def test_a_load_that_is_recorded(tmp_path: Path) -> None:
    """Through a pipe instead of a terminal; urllib is the browser."""
    command = ["gunicorn", "-b", f"127.0.0.1:{free_port()}", "tests.experiment.session_app:app"]
    with subprocess.Popen(
        [sys.executable, "-m", "seism", "init", "--record", "--", *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}, cwd=tmp_path,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stderr is not None
        said = ""
        while not (found := re.search(r"open (http://\S+) in a browser", said)):
            said = process.stderr.readline()
            assert said, "it has ended"
        upload = b'--x\r\nContent-Disposition: form-data; name="drink"\r\n\r\ntea\r\n--x--\r\n'
        posted = Request(
            f"{found[1]}/orders", upload, {"Content-Type": "multipart/form-data; boundary=x"}
        )
        for asked in (f"{found[1]}/login", posted):
            with urlopen(asked, timeout=20) as answer:
                answer.read()
        _, err = process.communicate("\n", timeout=60)
    assert process.returncode == 0, err
    experiment = load(tmp_path / "seism.toml", {})
    assert experiment.load is not None
    (scenario,) = experiment.load.scenario
    assert [(step.method, step.path) for step in scenario.step] == [
        ("GET", "/login"), ("POST", "/orders"),
    ]  # fmt: skip
    assert scenario.step[1].form == {"drink": "tea"}


def test_nothing_recorded_is_said(tmp_path: Path) -> None:
    command = ("gunicorn", "-b", f"127.0.0.1:{free_port()}", "tests.experiment.session_app:app")
    done = init(tmp_path, "--record", "--", *command)
    assert done.returncode == 2
    assert "nothing was recorded that a load could send" in done.stderr
    assert not (tmp_path / "seism.toml").exists()


def test_the_routes_of_an_openapi_document() -> None:
    text = b'{"paths": {"/a": {"get": {}, "post": {}, "summary": "x"}, "/b/{id}": {"get": {}}}}'
    assert [(route.method, route.path) for route in openapi(text)] == [
        ("GET", "/a"), ("POST", "/a"), ("GET", "/b/{id}"),
    ]  # fmt: skip
    for other in (b"", b"[]", b"{}", b'{"paths": 1}', b"<html>"):
        assert list(openapi(other)) == []
