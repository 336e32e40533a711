"""Two distributions of one version: each wheel and each sdist works in a fresh environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import seism
import seism_middleware
from seism.demo.backends import Backends
from tests.distributions import MIDDLEWARE, build_sdist, build_wheel, checkout, members
from tests.processes import ROOT
from tests.templates.conftest import environ

# The first test to ask for the wheels, or for an environment with them, waits until they are made.
pytestmark = pytest.mark.timeout(400)

HEAVY = ("seism", "gevent", "webob", "blinker", "statsd", "click", "rich", "jinja2", "asyncio")

WRAP = """
import json, sys
from wsgiref.util import setup_testing_defaults
from seism_middleware.wsgi import SeismWSGI

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]

environ, statuses = {}, []
setup_testing_defaults(environ)
body = SeismWSGI(app)(environ, lambda status, headers, exc_info=None: statuses.append(status))
print(json.dumps([statuses, b"".join(body).decode(), sorted(sys.modules)]))
"""

FILTERS = """
from importlib.metadata import distribution
points = distribution("seism-middleware").entry_points
print([point.load().__name__ for point in points.select(group="paste.filter_app_factory")])
"""

# So few requests that the app, which serves one at a time, serves them all in time.
EXPERIMENT = """
[app]
command = ["{python}", "app.py", "{{port}}"]
url = "http://127.0.0.1:{{port}}"
env = {{ CACHE = "{{cache.address}}" }}

[[backend]]
name = "cache"
upstream = "{cache}"

[load]
rate = 10
steady = 6
during = 5
after = 5
[[load.route]]
path = "/"

[[perturbation]]
name = "cache slow"
backend = "cache"
type = "latency"
attributes = {{ latency = 20 }}
"""

APP = """
import os, socket, sys
from wsgiref.simple_server import WSGIRequestHandler, make_server
from seism_middleware.wsgi import SeismWSGI

host, _, port = os.environ["CACHE"].rpartition(":")

def app(environ, start_response):
    with socket.create_connection((host, int(port)), timeout=5) as cache:
        cache.sendall(b"PING\\r\\n")
        said = cache.recv(100)
    start_response("200 OK", [("Content-Length", str(len(said)))])
    return [said]

class Quiet(WSGIRequestHandler):
    def log_message(self, *words):
        pass

make_server("127.0.0.1", int(sys.argv[1]), SeismWSGI(app), handler_class=Quiet).serve_forever()
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a folder to run in that holds no source of ours."""

    folder: Path

    venv: Path

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    def run(self, *argv: str | Path, code: int = 0) -> str:
        """The output of a program of the environment, which must end with ``code``."""
        done = subprocess.run(
            [self.python.parent / argv[0], *argv[1:]],
            cwd=self.folder,
            env=environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def pip(self, *words: str | Path) -> str:
        return self.run("python", "-m", "pip", "--disable-pip-version-check", "-q", *words)

    def names(self) -> set[str]:
        listed = self.run("python", "-m", "pip", "freeze", "--disable-pip-version-check")
        return {line.split()[0].lower() for line in listed.splitlines()}


def fresh(folder: Path) -> Environment:
    folder.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=60)
    return Environment(folder, folder / "venv")


def of(wheels: list[Path], name: str) -> Path:
    (wheel,) = (wheel for wheel in wheels if wheel.name.startswith(f"{name}-"))
    return wheel


def runs(environment: Environment) -> None:
    """The command line, and an experiment on an app that the middleware of the install wraps."""
    said = environment.run("seism", "--version")
    assert said == f"seism, version {seism.__version__}\n"
    assert "--app-source" in environment.run("seism", "demo", "--help")
    (environment.folder / "app.py").write_text(APP, encoding="utf-8")
    with Backends() as backends:
        experiment = EXPERIMENT.format(python=environment.python, cache=backends.addresses["cache"])
        (environment.folder / "seism.toml").write_text(experiment, encoding="utf-8")
        environment.run("seism", "run", "--quiet")
    report = json.loads((environment.folder / "seism-report" / "report.json").read_text())
    assert report["matrix"]["GET /"]["cache slow"] == "green", report


def wraps(environment: Environment) -> None:
    """The middleware serves a request, and neither it nor the request has imported much."""
    statuses, body, modules = json.loads(environment.run("python", "-c", WRAP))
    assert (statuses, body) == (["200 OK"], "hello")
    assert not {module.partition(".")[0] for module in modules} & set(HEAVY)
    assert environment.names() == {"seism-middleware"}


def test_the_middleware_alone(tmp_path: Path, wheels: list[Path]) -> None:
    environment = fresh(tmp_path / "alone")
    environment.pip("install", "--no-index", of(wheels, "seism_middleware"))
    wraps(environment)
    # What PasteDeploy asks for by "egg:seism-middleware".
    assert environment.run("python", "-c", FILTERS) == "['filter_app_factory']\n"


def test_both_run_an_experiment(tmp_path: Path, installed: Path) -> None:
    runs(Environment(tmp_path, installed))


def test_a_wheel_out_of_each_sdist(tmp_path: Path, wheels: list[Path]) -> None:
    """It holds what the wheel out of the checkout holds."""
    builder = fresh(tmp_path / "builder")
    builder.pip("install", "setuptools>=77", "cython>=3.1")
    source = checkout(tmp_path)
    for project, name in ((source, "seism"), (source / MIDDLEWARE, "seism_middleware")):
        sdist = build_sdist(project, tmp_path / "sdists", builder.python)
        files = members(sdist)
        assert not [path for path, item in files.items() if item.issym()], "a link leads nowhere"
        assert {"pyproject.toml", "README.md", "LICENSE"} <= set(files)
        # What a build requires was asked when the wheels were built that this is compared with.
        options = "--no-build-isolation"
        wheel = build_wheel(sdist, tmp_path / "wheels", builder.python, options)
        assert contents(wheel) ^ contents(of(wheels, name)) == set()


def contents(wheel: Path) -> set[str]:
    """The paths of a wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_a_wheel_holds_its_package_and_nothing_else(wheels: list[Path]) -> None:
    for name in ("seism", "seism_middleware"):
        tops = {path.partition("/")[0] for path in contents(of(wheels, name))}
        assert {top for top in tops if not top.endswith(".dist-info")} == {name}


def project(path: Path) -> dict[str, object]:
    declared: dict[str, object] = tomllib.loads((ROOT / path).read_text("utf-8"))["project"]
    return declared


def test_one_version() -> None:
    assert seism_middleware.__version__ == seism.__version__
    needs = project(Path("pyproject.toml"))["dependencies"]
    assert isinstance(needs, list)
    assert f"seism-middleware=={seism.__version__}" in needs


def test_what_both_declare_is_the_same() -> None:
    ours, observer = (
        project(path) for path in (Path("pyproject.toml"), MIDDLEWARE / "pyproject.toml")
    )
    for key in ("license", "requires-python", "dynamic", "license-files"):
        assert ours[key] == observer[key], key
    assert not observer["dependencies"]
