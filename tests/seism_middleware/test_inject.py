"""Apps that know nothing of Seism, observed under real servers through the environment alone."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import seism_middleware.inject
from seism_middleware.contract import Hello, RequestEnded
from seism_middleware.inject import server, sitecustomize
from tests.debian import unable
from tests.ports import free_port
from tests.processes import process, until, wait_for
from tests.seism_middleware.peer import Peer

FOLDER = Path(seism_middleware.inject.__file__).parent
HERE = Path(__file__).parent
OURS = HERE / "inject_apps.py"
BESIDE = Path(sys.executable).parent
PASTER = """
[app:main]
use = call:inject_apps:paste

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{port}
"""

SERVERS = {
    "gunicorn sync": ("gunicorn", "-b", "127.0.0.1:{port}", "-w", "{n}", "inject_apps:wsgi"),
    "gunicorn gthread": (
        "gunicorn",
        "-b",
        "127.0.0.1:{port}",
        "-w",
        "{n}",
        "--threads",
        "2",
        "inject_apps:wsgi",
    ),
    "gunicorn gevent": (
        "gunicorn",
        "-b",
        "127.0.0.1:{port}",
        "-w",
        "{n}",
        "-k",
        "gevent",
        "inject_apps:wsgi",
    ),
    "gunicorn preload": (
        "gunicorn",
        "-b",
        "127.0.0.1:{port}",
        "-w",
        "{n}",
        "--preload",
        "inject_apps:wsgi",
    ),
    "gunicorn asgi": (
        "gunicorn",
        "-b",
        "127.0.0.1:{port}",
        "-w",
        "{n}",
        "-k",
        "asgi",
        "inject_apps:asgi",
    ),
    "gunicorn uvicorn": (
        "gunicorn",
        "-b",
        "127.0.0.1:{port}",
        "-w",
        "{n}",
        "-k",
        "uvicorn.workers.UvicornWorker",
        "inject_apps:asgi",
    ),
    "uvicorn": ("uvicorn", "--port", "{port}", "--workers", "{n}", "inject_apps:asgi"),
    "uvicorn wsgi": (
        "uvicorn",
        "--port",
        "{port}",
        "--workers",
        "{n}",
        "--interface",
        "wsgi",
        "inject_apps:wsgi",
    ),
    "hypercorn": ("hypercorn", "-b", "127.0.0.1:{port}", "-w", "{n}", "inject_apps:asgi"),
    "hypercorn wsgi": (
        "hypercorn",
        "-b",
        "127.0.0.1:{port}",
        "-w",
        "{n}",
        "wsgi:inject_apps:wsgi",
    ),
    "granian asgi": (
        "granian",
        "--port",
        "{port}",
        "--workers",
        "{n}",
        "--interface",
        "asgi",
        "inject_apps:asgi",
    ),
    "granian wsgi": (
        "granian",
        "--port",
        "{port}",
        "--workers",
        "{n}",
        "--interface",
        "wsgi",
        "inject_apps:wsgi",
    ),
    "uwsgi": (
        "uwsgi",
        "--http-socket",
        "127.0.0.1:{port}",
        "--master",
        "--processes",
        "{n}",
        "--die-on-term",
        "--module",
        "inject_apps:wsgi",
        "--pythonpath",
        ".",
        "--virtualenv",
        sys.prefix,
    ),
}
"""Name -> command; it runs beside the apps, with 1 worker and with 4."""
ALONE = {
    "waitress": ("waitress-serve", "--listen=127.0.0.1:{port}", "inject_apps:wsgi"),
    "waitress from code": ("python", "inject_apps.py", "waitress", "{port}"),
    "pserve": ("pserve", "{ini}"),
    "daphne": ("daphne", "-p", "{port}", "inject_apps:asgi"),
    "werkzeug": ("python", "inject_apps.py", "werkzeug", "{port}"),
    "werkzeug reloader": ("python", "inject_apps.py", "werkzeug reloader", "{port}"),
    "django runserver": ("python", "inject_apps.py", "django", "{port}"),
    "wsgiref": ("python", "inject_apps.py", "wsgiref", "{port}"),
    "cheroot": ("cheroot", "--bind", "127.0.0.1:{port}", "inject_apps:wsgi"),
    "cheroot from code": ("python", "inject_apps.py", "cheroot", "{port}"),
    "gevent": ("python", "inject_apps.py", "gevent", "{port}"),
    "aiohttp": ("python", "inject_apps.py", "aiohttp", "{port}"),
}
"""Those without workers."""
CASES = {
    **{f"{name} x{n}": (command, n) for name, command in SERVERS.items() for n in (1, 4)},
    **{name: (command, 1) for name, command in ALONE.items()},
}

OF_THE_MASTER = {"uwsgi x1": 1, "uwsgi x4": 1, "werkzeug reloader": 2}
"""Where the first process gets the app as well, or alone: how often that is said."""
ITSELF = ("django runserver",)
"""What makes a response of an exception before anyone else sees it."""


@dataclass
class Running:
    peer: Peer
    port: int
    log: Path

    def told(self) -> list[str]:
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if line.startswith("seism: ")]

    def ended(self, route: str) -> RequestEnded:
        def found() -> list[RequestEnded]:
            return [r for r in self.peer.records(RequestEnded) if r.route == route]

        until(lambda: bool(found()), 20)
        return found()[-1]


def injected(*path: Path, **more: str) -> dict[str, str]:
    folders = map(str, (FOLDER, *path))
    return {sitecustomize.VARIABLE: "1", "PYTHONPATH": os.pathsep.join(folders), **more}


@contextmanager
def running(
    command: tuple[str, ...], tmp_path: Path, workers: int = 1, cwd: Path = HERE, **env: str
) -> Iterator[Running]:
    port, ini, log = free_port(), tmp_path / "app.ini", tmp_path / "log"
    ini.write_text(PASTER.format(port=port))
    words = [word.format(port=port, n=workers, ini=ini) for word in command]
    with Peer() as peer, log.open("wb") as output:
        variables = {**injected(cwd, SEISM_SIDECAR=peer.address), **env}
        with process(
            str(BESIDE / words[0]), *words[1:], stop=signal.SIGTERM, env=variables, cwd=cwd,
            stdout=output, stderr=subprocess.STDOUT,
        ) as child:  # fmt: skip
            wait_for(port, child)
            yield Running(peer, port, log)


def get(port: int, path: str = "/pid") -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        client.request("GET", path, headers={"Connection": "close"})
        response = client.getresponse()
        return response.status, response.read()
    except (http.client.HTTPException, OSError):
        return 0, b""
    finally:
        client.close()


def of_all_workers(port: int, workers: int) -> set[bytes]:
    """Their processes, as they say: requests are sent until each has answered one."""
    seen: set[bytes] = set()

    def ask() -> None:
        status, body = get(port)
        if status == 200:
            seen.add(body)

    def some() -> bool:
        threads = [threading.Thread(target=ask) for _ in range(2 * workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(seen) >= workers

    until(some, 30)
    return seen


@pytest.mark.parametrize("case", CASES)
def test_each_worker_of_each_server_is_observed(case: str, tmp_path: Path) -> None:
    command, workers = CASES[case]
    if command[0] == "uwsgi" and not (BESIDE / "uwsgi").exists():
        unable("uwsgi is missing: pip install '.[matrix]'")
    with running(command, tmp_path, workers) as app:
        pids = of_all_workers(app.port, workers)
        until(lambda: {str(h.pid).encode() for h in app.peer.records(Hello)} >= pids, 20)
        assert app.ended("/pid").status == 200
        get(app.port, "/broken")
        broken = app.ended("/broken")
        assert broken.status == 500
        assert broken.exception == ("" if case in ITSELF else "KeyError")
        told = app.told()
        assert all("seism: inject: observing " in line for line in told)
        assert len(told) == OF_THE_MASTER.get(case, workers) and len(pids) == workers, told
        if case not in OF_THE_MASTER:
            assert all(f"process {pid.decode()}" in "".join(told) for pid in pids)
        # Each request is observed once, whatever is wrapped within what.
        ended = {r.request for r in app.peer.records(RequestEnded) if r.route == "/broken"}
        assert len(ended) == 1


def test_aiohttp_tells_routes_streams_and_errors(tmp_path: Path) -> None:
    with running(ALONE["aiohttp"], tmp_path) as app:
        for path, route, status in (
            ("/items/7", "/items/{name}", 200), ("/streamed", "/streamed", 200),
            ("/away", "/away", 503), ("/nope", "/nope", 404),
        ):  # fmt: skip
            assert get(app.port, path)[0] == status
            ended = app.ended(route)
            assert (ended.status, ended.body, ended.exception) == (status, "complete", "")
        assert app.ended("/away").retry_after


OBSERVED = """
import sys
from inject_apps import wsgi
from seism_middleware.wsgi import SeismWSGI
from waitress import serve
serve(SeismWSGI(wsgi), host="127.0.0.1", port=int(sys.argv[1]))
"""


def test_an_app_that_wraps_itself_is_observed_once(tmp_path: Path) -> None:
    with running(("python", "-c", OBSERVED, "{port}"), tmp_path) as app:
        assert get(app.port)[0] == 200
        app.ended("/pid")
        assert ["itself already" in line for line in app.told()] == [True]
        assert len({r.request for r in app.peer.records(RequestEnded)}) == 1


def test_a_sitecustomize_that_was_there_runs_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.was_here = 'yes'\n")
    code = "import sys; print(was_here, sys.modules['sitecustomize'].__file__, len(sys.meta_path))"
    done = python(code, injected(tmp_path))
    assert done.stdout.split()[:2] == ["yes", str(tmp_path / "sitecustomize.py")]


def python(code: str, env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code], env={**os.environ, **env}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip


def test_it_goes_together_with_the_redirection_of_connects(tmp_path: Path) -> None:
    redirect = FOLDER.parent / "redirect"
    for folders in ((FOLDER, redirect), (redirect, FOLDER)):
        env = {
            **injected(), "SEISM_REDIRECT": json.dumps({"127.0.0.1:1": "127.0.0.1:2"}),
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
        }  # fmt: skip
        code = (
            "import socket, sys; print(hasattr(socket.socket.connect, '__wrapped__'), "
            "any('Imports' in repr(f) for f in sys.meta_path))"
        )
        assert python(code, env).stdout.split() == ["True", "True"]


def test_an_environment_without_seism(tmp_path: Path) -> None:
    """The interpreter below the virtual environment, and a folder with waitress alone."""
    import waitress

    (tmp_path / "waitress").symlink_to(Path(waitress.__file__).parent)
    bare = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
    env = {"PYTHONPATH": os.pathsep.join(map(str, (FOLDER, tmp_path, HERE)))}
    command = (bare, "-m", "waitress", "--listen=127.0.0.1:{port}", "inject_apps:wsgi")
    with running(command, tmp_path, **env) as app:
        assert get(app.port)[0] == 200
        assert app.ended("/pid").status == 200
    asked = [bare, "-c", "import importlib.util as i; print(i.find_spec('seism_middleware'))"]
    done = subprocess.run(
        asked,
        env={**os.environ, "PYTHONPATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "None"


STARTS = """
import os, subprocess, sys
from inject_apps import wsgi
from waitress import server
first = server.create_server(wsgi, port=0, host="127.0.0.1")
other = "from wsgiref.simple_server import make_server as m; from inject_apps import wsgi; "
code = other + "print(m('127.0.0.1', 0, wsgi).get_app() is wsgi)"
print(first.application is wsgi)
print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
"""


def test_other_python_processes_are_left_alone(tmp_path: Path) -> None:
    done = python(STARTS, injected(HERE))
    assert done.stdout.split() == ["False", "True"], done
    assert len(done.stderr.splitlines()) == 1  # of the first


def test_a_launcher_is_not_the_server(tmp_path: Path) -> None:
    """A Python program that starts the server as a process of its own."""
    code = (
        "import subprocess, sys; "
        "sys.exit(subprocess.call([sys.executable, 'inject_apps.py', 'wsgiref', sys.argv[1]]))"
    )
    with running(("python", "-c", code, "{port}"), tmp_path) as app:
        status, pid = get(app.port)
        try:
            assert status == 200
            assert app.ended("/pid").status == 200
        finally:
            os.kill(int(pid), signal.SIGTERM)


def test_an_old_python_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"""
import runpy, sys
sys.version_info = (3, 9, 2)
runpy.run_path({str(FOLDER / "sitecustomize.py")!r}, run_name="sitecustomize")
print("went on")
"""
    done = python(code, {sitecustomize.VARIABLE: "1"})
    assert done.returncode == sitecustomize.EXIT_CODE
    assert done.stderr.count("\n") == 1 and "3.9.2 is too old (3.11 or newer" in done.stderr
    assert "went on" not in done.stdout


def test_what_is_patched_is_listed_and_undone() -> None:
    from wsgiref.simple_server import WSGIServer

    before, finders = WSGIServer.__dict__["set_app"], list(sys.meta_path)
    injection = server.Injection()
    injection.install()
    try:
        assert "wsgiref.simple_server.WSGIServer.set_app" in injection.names
        assert WSGIServer.__dict__["set_app"] is not before
    finally:
        injection.uninstall()
    injection.uninstall()
    assert injection.names == ()
    assert WSGIServer.__dict__["set_app"] is before
    assert sys.meta_path == finders


def test_a_fault_of_ours_leaves_the_app_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("ours")

    injection = server.Injection()
    monkeypatch.setattr(injection, "_observed", fails)
    app = object()
    assert injection.wrap(app, "wsgi", "waitress") is app
    assert "waitress: the app is not observed: RuntimeError('ours')" in capsys.readouterr().err
