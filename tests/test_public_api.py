"""What others build on: typed, and no larger than it has to be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path

import pytest

from tests.processes import ROOT

CLIENT = '''
"""A program of somebody who has installed Seism."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from seism.client import Client, Feed, Proxy, Toxic
from seism.errors import ConfigurationError, SeismError
from seism.signals import perturbation_began
from seism.testing import SeismTestCase, assert_fired, experiment, sidecar
from seism_middleware import includeme, sentinel, signals
from seism_middleware.asgi import SeismASGI
from seism_middleware.contract import PerturbationBegan
from seism_middleware.log_filter import SeismFilter
from seism_middleware.wsgi import SeismWSGI


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [sentinel.plant().encode()]


observed = SeismWSGI(app, sidecar="127.0.0.1:8474", perturbation_header=True)


def began(sender: object, record: PerturbationBegan) -> None:
    print(record.proxy, record.offset)


def slow(client: Client) -> str:
    db: Proxy = client.create("db", upstream="127.0.0.1:5432")
    host, port = db.address
    try:
        with db.toxic("latency", latency=100, toxicity=0.5) as toxic:
            changed: Toxic = toxic
            changed.update(latency=200)
        with db.down(), client.perturbations(timeout=5) as feed:
            records: Feed = feed
            next(records)
    except ConfigurationError as error:
        return str(error)
    except SeismError:
        raise
    return f"{host}:{port + 1}"


def whole(folder: Path) -> None:
    with sidecar(folder, seed=2) as client:
        slow(client)
        assert_fired(client.records(), "db")


class Pool(SeismTestCase):
    def test_slow(self) -> None:
        with self.proxy("db", "127.0.0.1:5432").toxic("latency", latency=2000):
            self.assertFired("db")


perturbation_began.connect(began)
signals.attribution_made.connect(began)
'''


def checked(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """What mypy says of ``program``, by the types that Seism ships."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    cache = ROOT / ".mypy_cache" / "public"
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", str(cache),
         "program.py"],
        # An entry of the path, unlike mypy's own, is to mypy what is installed: py.typed counts.
        cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip


def test_a_program_of_somebody_else_type_checks(tmp_path: Path) -> None:
    done = checked(tmp_path, CLIENT)
    assert done.returncode == 0, done.stdout + done.stderr
    # The types are really looked at: what is wrong is found.
    wrong = CLIENT.replace("port + 1", 'port + "1"').replace("timeout=5", 'timeout="5"')
    found = checked(tmp_path, wrong)
    assert found.stdout.count("error:") >= 2, found.stdout + found.stderr


@pytest.mark.parametrize("package", ["seism", "seism_middleware"])
def test_each_package_says_that_it_is_typed(package: str) -> None:
    assert (resources.files(package) / "py.typed").is_file()
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "py.typed" in shipped["package-data"]["*"]


def imported(folder: Path, without: tuple[str, ...] = ()) -> Iterator[str]:
    """The top-level names that the modules in ``folder`` import, anywhere."""
    for path in folder.rglob("*.py"):
        if path.relative_to(folder).parts[0] not in without:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module.partition(".")[0]


def foreign(folder: Path, without: tuple[str, ...] = ()) -> set[str]:
    own = {"seism", "seism_middleware"}
    return set(imported(folder, without)) - own - set(sys.stdlib_module_names)


def test_an_install_brings_what_the_sidecar_needs_and_nothing_else() -> None:
    required = {
        re.split(r"[\s<>=!~\[;]", line)[0].lower()
        for line in metadata.requires("seism") or ()
        if "extra ==" not in line
    } - {"seism-middleware"}  # ours: tests/test_distributions.py
    required = {"re2" if name == "google-re2" else name for name in required}
    # Jinja's own way to mark text as safe, which comes with it.
    provided = required | {"markupsafe"}
    # The demo's app and servers are an extra, and a template's code is the generated app's.
    used = foreign(ROOT / "seism", ("demo", "templates", "pytest_plugin.py", "testing"))
    # PyYAML is the extra "yaml", imported when a file of that kind is given; what imports Locust
    # is loaded by Locust.
    assert used - {"yaml", "locust"} <= provided
    # statsd and blinker are the middleware's, when they are switched on.
    assert required <= used | foreign(ROOT / "seism_middleware")
